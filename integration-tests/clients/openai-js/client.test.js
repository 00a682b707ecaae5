// The official `openai` package for JavaScript. Run by `node --test`, the address in SHARDLINE_URL.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.SHARDLINE_URL}/v1`, apiKey: "none", maxRetries: 0 });
const options = { model: "demo", temperature: 0, max_tokens: 100 };
const capital = [{ role: "user", content: "What is the capital of France?" }];
const paris = "The capital of France is Paris.";
const weather = [{ role: "user", content: "What is the weather in Paris?" }];
const tool = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city.",
    parameters: {
      type: "object",
      properties: {
        city: { type: "string", enum: ["Paris", "London"] },
        days: { type: "integer", minimum: 1, maximum: 7 },
      },
      required: ["city", "days"],
      additionalProperties: false,
    },
  },
};
const schema = {
  type: "object",
  properties: { name: { type: "string", enum: ["Ann", "Bob"] }, age: { type: "integer", minimum: 0, maximum: 150 } },
  required: ["name", "age"],
  additionalProperties: false,
};

test("models", async () => {
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  assert.deepEqual(models, ["demo"]);
});

test("chat", async () => {
  const answer = await client.chat.completions.create({ ...options, messages: capital });
  assert.equal(answer.choices[0].message.content, paris);
  assert.equal(answer.usage.completion_tokens, 8);
});

test("chat as a stream", async () => {
  const stream = await client.chat.completions.create({
    ...options, messages: capital, stream: true, stream_options: { include_usage: true },
  });
  let text = "";
  let usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, paris);
  assert.equal(usage.completion_tokens, 8);
});

test("the helper that collects a stream", async () => {
  const runner = client.chat.completions.stream({ ...options, messages: capital });
  assert.equal(await runner.finalContent(), paris);
});

test("a stream that is left early", async () => {
  const stream = await client.chat.completions.create({ ...options, messages: capital, stream: true });
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta?.content) break;
  }
  assert.ok(stream.controller.signal.aborted);
});

test("tools", async () => {
  const asked = { ...options, messages: weather, tools: [tool] };
  for (const choice of ["required", { type: "function", function: { name: "get_weather" } }]) {
    const answer = await client.chat.completions.create({ ...asked, tool_choice: choice });
    const [call] = answer.choices[0].message.tool_calls;
    assert.equal(call.function.name, "get_weather");
    const told = JSON.parse(call.function.arguments);
    assert.ok(["Paris", "London"].includes(told.city) && told.days >= 1 && told.days <= 7, call.function.arguments);
  }
  const runner = client.chat.completions.stream({ ...asked, tool_choice: "required" });
  const call = await runner.finalFunctionToolCall();
  assert.equal(call.name, "get_weather");
  JSON.parse(call.arguments);
});

test("a schema", async () => {
  const answer = await client.chat.completions.parse({
    ...options,
    messages: [{ role: "user", content: "Tell me of a person as JSON." }],
    response_format: { type: "json_schema", json_schema: { name: "person", schema, strict: true } },
  });
  const person = JSON.parse(answer.choices[0].message.content);
  assert.ok(["Ann", "Bob"].includes(person.name) && person.age >= 0 && person.age <= 150);
});

test("completions", async () => {
  const answer = await client.completions.create({ ...options, prompt: "Once upon a time", max_tokens: 8 });
  assert.equal(answer.usage.completion_tokens, 8);
});

test("errors are the package's own", async () => {
  await assert.rejects(
    client.chat.completions.create({ ...options, messages: capital, top_p: 7 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "top_p",
  );
});

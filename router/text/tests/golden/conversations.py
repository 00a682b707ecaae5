"""Conversations that chat templates are compared on."""

from __future__ import annotations

from typing import Any

# 2024-07-26 09:05:03 UTC
NOW_UNIX_S = 1_721_984_703

SYSTEM = {"role": "system", "content": "You are terse.\n"}
USER = {"role": "user", "content": "  What's 2+2?  "}
ASSISTANT = {"role": "assistant", "content": "4"}
FOLLOW_UP = {"role": "user", "content": 'And "3" <b>&amp;</b> é 😀?'}

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'Weather of a city, e.g. "Zürich" or <Paris>',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name"},
                "days": {"type": "integer", "default": 1, "minimum": 0.5, "maximum": 1e20},
                "unit": {"type": ["string", "null"], "enum": ["C", "F", None, True]},
            },
            "required": ["city"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "", "parameters": {"type": "object", "properties": {}}},
}

CALL = {
    "id": "call00001",
    "type": "function",
    "function": {
        "name": "get_weather",
        "arguments": {"city": "Zürich", "days": 2, "deep": [1.5, {"a": []}, False]},
    },
}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
TOOL = {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": '{"temp": 21}'}
THINKING = {"role": "assistant", "content": "<think>\nhm, 2 and 2\n</think>\n\nIt is 4."}

PLAIN: list[list[dict[str, Any]]] = [
    [USER],
    [SYSTEM, USER],
    [USER, ASSISTANT, FOLLOW_UP],
    [SYSTEM, USER, ASSISTANT, FOLLOW_UP, ASSISTANT],
    [{"role": "user", "content": ""}],
]
WITH_TOOLS: list[list[dict[str, Any]]] = [
    [SYSTEM, USER],
    [USER, CALLING, TOOL],
    [SYSTEM, USER, CALLING, TOOL, ASSISTANT, FOLLOW_UP],
    [USER, CALLING, TOOL, TOOL, ASSISTANT],
]
ODD: list[list[dict[str, Any]]] = [
    [USER, USER],
    [ASSISTANT],
    [SYSTEM, SYSTEM, USER],
    [{"role": "critic", "content": "hm"}],
    [USER, THINKING, FOLLOW_UP],
    [USER, THINKING],
]


def _cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    for template in ("smollm", "chatml", "llama", "mistral", "qwen", "python"):
        for generate in (False, True):
            for messages in PLAIN + ODD:
                cases.append({"template": template, "messages": messages, "add_generation_prompt": generate})
            for messages in WITH_TOOLS if template != "smollm" else []:
                cases.append(
                    {
                        "template": template,
                        "messages": messages,
                        "tools": [WEATHER, CLOCK],
                        "add_generation_prompt": generate,
                    }
                )
        for messages in ([USER, ASSISTANT], [SYSTEM, USER, {"role": "assistant", "content": "It is  "}]):
            cases.append({"template": template, "messages": messages, "continue_final_message": True})
    for flag in (True, False):
        cases.append(
            {
                "template": "qwen",
                "messages": [USER],
                "add_generation_prompt": True,
                "kwargs": {"enable_thinking": flag},
            }
        )
    # Arguments as JSON text and content as parts, as clients send them.
    as_text = {"name": "get_weather", "arguments": '{"city": "Bern"}'}
    as_object = {"name": "get_weather", "arguments": {"city": "Bern"}}
    sent = {**CALLING, "tool_calls": [{**CALL, "function": as_text}]}
    seen = {**CALLING, "tool_calls": [{**CALL, "function": as_object}]}
    parts = {"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]}
    joined = {"role": "user", "content": "one two"}
    for template in ("chatml", "llama", "mistral", "qwen"):
        case = {"template": template, "messages": [parts, sent], "seen": [joined, seen], "tools": [CLOCK]}
        cases.append(case)
    nothing = {"role": "user", "content": None}
    empty = {"role": "user", "content": ""}
    cases.append({"template": "chatml", "messages": [nothing, USER], "seen": [empty, USER]})
    cases.append(
        {
            "template": "parts",
            "messages": [parts, ASSISTANT],
            "seen": [parts, {"role": "assistant", "content": [{"type": "text", "text": "4"}]}],
        }
    )
    documents = [{"title": "A", "text": "first\nline"}, {"title": "B", "text": "second"}]
    cases.append({"template": "python", "messages": [USER], "documents": documents})
    return cases


CASES: list[dict[str, Any]] = _cases()

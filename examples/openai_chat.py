"""Chat with the server through the official `openai` package: once whole, once streamed.

pip install openai
python examples/openai_chat.py [http://127.0.0.1:3000]
"""

import sys

from openai import OpenAI

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000"
client = OpenAI(base_url=f"{url}/v1", api_key="unused")
messages = [{"role": "user", "content": "What is the capital of France?"}]

answer = client.chat.completions.create(model="tgi", messages=messages, max_tokens=32, temperature=0)
print(answer.choices[0].message.content)

for chunk in client.chat.completions.create(
    model="tgi", messages=messages, max_tokens=32, temperature=0, stream=True
):
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()

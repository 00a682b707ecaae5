"""Chat and generate text through `huggingface_hub.InferenceClient`, as with TGI.

pip install huggingface_hub
python examples/inference_client.py [http://127.0.0.1:3000]
"""

import sys

from huggingface_hub import InferenceClient

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000"

chat = InferenceClient(base_url=url)
answer = chat.chat_completion(
    [{"role": "user", "content": "What is the capital of France?"}], max_tokens=32, temperature=0
)
print(answer.choices[0].message.content)

generate = InferenceClient(model=url)
for token in generate.text_generation("Once upon a time", max_new_tokens=16, stream=True):
    print(token, end="", flush=True)
print()

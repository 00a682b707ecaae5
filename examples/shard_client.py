"""Token ids in, token ids out: speak to a shard without a router.

pip install shardline[client]
shardline-server serve MODEL_PATH --shard-uds-path /tmp/shard --rank 0 --world-size 1
python examples/shard_client.py /tmp/shard-0 [TOKEN_ID ...]
"""

import sys
import time

from shardline.client import Phase, Sampling, ShardClient, ShardUnavailable

address = sys.argv[1]
prompt = [int(argument) for argument in sys.argv[2:]] or [504, 3575, 282, 4649, 314]

with ShardClient.connect(address) as shard:
    while True:
        try:
            if (health := shard.health()).phase is Phase.READY:
                break
            print(f"{health.phase.name.lower()}: {health.message}", file=sys.stderr)
        except ShardUnavailable:
            print("nobody listens yet", file=sys.stderr)
        time.sleep(0.5)

    info = shard.info()
    print(f"{info.model_type} in {info.dtype} on {info.device}, {info.capacity.vocab_size} tokens")

    greedy, warm = Sampling(temperature=0), Sampling(temperature=0.8, top_p=0.95, logprobs=True)
    answers: list[list[int]] = [[], []]
    for token in shard.generate([prompt, prompt], max_new_tokens=16, sampling=[greedy, warm], seed=1):
        answers[token.prompt].append(token.id)
    print("greedy: ", *answers[0])
    print("sampled:", *answers[1])

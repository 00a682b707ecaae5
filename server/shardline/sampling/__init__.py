"""From logits to tokens, on the device and vectorised over rows.

Order of operations:

    logits (float32)
      → log-probabilities, when asked for: log_softmax of what the model gave
      → logit_bias and allowed_token_ids
      → penalties: repetition over prompt and generated tokens, frequency and presence over generated
      → min_tokens: stop tokens are out of question until enough are generated, unless nothing else may come
      → grammar: what it does not allow is out of question
      → temperature 0: the largest logit, the lowest id among equals
      → temperature
      → top-k → top-p → min-p → typical-p, each on what the one before left
      → Gumbel-max over random numbers counted by (seed, choice, position, token)
"""

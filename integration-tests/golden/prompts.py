"""The prompts whose greedy continuations are the goldens: 30 for the demo model, of 1 to some 300 tokens."""

CHAT = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Name three colours.",
    "Explain photosynthesis to a child in two sentences.",
    "Translate 'good morning' into Spanish.",
    "What is 12 + 30?",
    "Give me a JSON object with the keys name and age.",
    "Who wrote Hamlet?",
    "List the planets of the solar system.",
    "Why is the sky blue?",
)

TEXT = (
    "Once upon a time",
    "The",
    "def fibonacci(n):\n    ",
    "In 1969, the first humans",
    "The quick brown fox jumps over the lazy dog. The quick brown fox",
    "1, 2, 3, 4, 5,",
    "Dear Sir or Madam,\n\nI am writing to",
    "Water boils at",
    "The three most important things in life are",
    "import numpy as np\n\n",
    "Q: How many legs does a spider have?\nA:",
    "Zürich, München und Köln sind",
    "« Bonjour », dit-elle,",
    "The history of computing began",
    "# Shopping list\n- eggs\n- ",
)

_PARAGRAPH = (
    "A river begins in the hills, where rain and melting snow gather into small streams. The streams "
    "meet, and the river grows, cutting through rock and carrying sand and stones with it. Towns stand "
    "along its banks, because a river gives water to drink, fields to plant and a road for boats. "
)

LONG = (
    _PARAGRAPH + "In summary,",
    _PARAGRAPH * 2 + "The next chapter tells",
    _PARAGRAPH * 3 + "Question: where does a river begin?\nAnswer:",
    _PARAGRAPH * 4 + "Finally,",
    "Repeat after me: " + "apple banana cherry " * 20,
)

"""What the clients ask a server, whose address is in SHARDLINE_URL.

The tests of each folder run in an environment of their own: they may import what its
`requirements.txt` names, and nothing of this project.
"""

import os
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions whose answers the demo model's greedy output fixes."""

    url: str
    capital: str = "What is the capital of France?"
    paris: str = "The capital of France is Paris."
    weather: str = "What is the weather in Paris?"
    # Finite on purpose: whatever a small model says in this frame ends soon.
    tool: dict[str, Any] = field(
        default_factory=lambda: {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "The weather of a city.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string", "enum": ["Paris", "London"]},
                        "days": {"type": "integer", "minimum": 1, "maximum": 7},
                    },
                    "required": ["city", "days"],
                    "additionalProperties": False,
                },
            },
        }
    )
    person: str = "Tell me of a person as JSON."
    schema: dict[str, Any] = field(
        default_factory=lambda: {
            "title": "Person",
            "type": "object",
            "properties": {
                "name": {"type": "string", "enum": ["Ann", "Bob"]},
                "age": {"type": "integer", "minimum": 0, "maximum": 150},
            },
            "required": ["name", "age"],
            "additionalProperties": False,
        }
    )

    def check_call(self, name: str, arguments: dict[str, Any]) -> None:
        """A call of the tool keeps to its parameters."""
        assert name == "get_weather"
        assert set(arguments) == {"city", "days"}, arguments
        assert arguments["city"] in ("Paris", "London") and 1 <= arguments["days"] <= 7, arguments

    def check_person(self, person: dict[str, Any]) -> None:
        """An answer keeps to the schema."""
        assert set(person) == {"name", "age"}, person
        assert person["name"] in ("Ann", "Bob") and 0 <= person["age"] <= 150, person


@pytest.fixture(scope="session")
def ask() -> Questions:
    return Questions(url=os.environ["SHARDLINE_URL"])

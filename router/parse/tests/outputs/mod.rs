//! What models say.

use crate::support::Golden;

const fn golden(
    format: &'static str,
    reasoning: &'static str,
    text: &'static str,
    expected: &'static str,
) -> Golden {
    Golden {
        format,
        reasoning,
        text,
        expected,
    }
}

pub const GOLDENS: &[Golden] = &[
    // A call with text before, between and behind.
    golden(
        "hermes",
        "",
        "Let me see.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\", \"days\": 3}}\n</tool_call>",
        "t \"Let me see.\"\nc \"get_weather\"\na \"{\\\"city\\\": \\\"Zürich\\\", \\\"days\\\": 3}\"\ne \"\"",
    ),
    golden(
        "hermes",
        "think",
        "<think>\nIs <tool_call> needed?\n</think>\n\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"arguments\": {\"city\": \"a\"}, \"name\": \"get_weather\"}\n</tool_call>\n",
        "r \"Is <tool_call> needed?\"\nc \"now\"\na \"{}\"\ne \"\"\nc \"get_weather\"\na \"{\\\"city\\\": \\\"a\\\"}\"\ne \"\"",
    ),
    golden(
        "hermes",
        "",
        "A<tool_call>{\"name\":\"now\",\"arguments\":{}}</tool_call>\nB",
        "t \"A\"\nc \"now\"\na \"{}\"\ne \"\"\nt \"\\nB\"",
    ),
    // Markers within texts are text.
    golden(
        "hermes",
        "",
        "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":\"</tool_call> \\\" }\"}}</tool_call>",
        "c \"now\"\na \"{\\\"a\\\":\\\"</tool_call> \\\\\\\" }\\\"}\"\ne \"\"",
    ),
    // A bracket is missing.
    golden(
        "hermes",
        "",
        "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":1}</tool_call> done",
        "c \"now\"\na \"{\\\"a\\\":1}\"\ne \"\"\nt \"done\"",
    ),
    golden(
        "hermes",
        "",
        "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":1</tool_call>",
        "c \"now\"\na \"{\\\"a\\\":1\"\ne \"\"",
    ),
    // Arguments as a string, null, or none.
    golden(
        "hermes",
        "",
        "<tool_call>{\"name\":\"now\",\"arguments\":\"{\\\"a\\\": \\\"\\u00e4\\\"}\"}</tool_call>",
        "c \"now\"\na \"{\\\"a\\\": \\\"ä\\\"}\"\ne \"\"",
    ),
    golden(
        "hermes",
        "",
        "<tool_call>{\"name\":\"now\",\"arguments\":null}</tool_call><tool_call>{\"name\":\"now\"}</tool_call>",
        "c \"now\"\na \"{}\"\ne \"\"\nc \"now\"\na \"{}\"\ne \"\"",
    ),
    golden(
        "hermes",
        "",
        "<tool_call>{\"id\":[1,{}],\"type\":\"function\",\"function\":{\"name\":\"n\\\"ä\\\"\",\"arguments\":{\"a\":1}}}</tool_call>",
        "c \"n\\\"ä\\\"\"\na \"{\\\"a\\\":1}\"\ne \"\"",
    ),
    // No calls after all, or cut off.
    golden(
        "hermes",
        "",
        "<tool_call>\nnone</tool_call> ",
        "t \"<tool_call>\\nnone</tool_call> \"",
    ),
    golden(
        "hermes",
        "",
        "a </tool_call> b <tool",
        "t \"a </tool_call> b <tool\"",
    ),
    golden(
        "hermes",
        "",
        "<tool_call>{\"name\": \"no",
        "t \"<tool_call>{\\\"name\\\": \\\"no\"",
    ),
    golden(
        "hermes",
        "",
        "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"b",
        "c \"now\"\na \"{\\\"a\\\": \\\"b\"",
    ),
    golden(
        "hermes",
        "",
        "x <tool_call><tool_call>{\"name\":\"now\",\"arguments\":{}}</tool_call>",
        "t \"x <tool_call>\"\nc \"now\"\na \"{}\"\ne \"\"",
    ),
    golden("hermes", "", " \n", "t \" \\n\""),
    // The model writes JSON at once.
    golden(
        "llama3_json",
        "",
        "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"a\"}}; {\"name\": \"now\", \"parameters\": {}}",
        "c \"get_weather\"\na \"{\\\"city\\\": \\\"a\\\"}\"\ne \"\"\nc \"now\"\na \"{}\"\ne \"\"",
    ),
    golden(
        "llama3_json",
        "",
        "<|python_tag|>{\"type\": \"function\", \"name\": \"other\", \"parameters\": {\"x\": [1, 2]}}",
        "c \"other\"\na \"{\\\"x\\\": [1, 2]}\"\ne \"\"",
    ),
    golden(
        "llama3_json",
        "",
        "{\"name\": \"Bob\", \"parameters\": {\"age\": 3}}",
        "t \"{\\\"name\\\": \\\"Bob\\\", \\\"parameters\\\": {\\\"age\\\": 3}}\"",
    ),
    golden(
        "llama3_json",
        "",
        "Use {\"name\": \"now\"}.",
        "t \"Use {\\\"name\\\": \\\"now\\\"}.\"",
    ),
    golden(
        "json",
        "",
        "[{\"name\": \"now\", \"arguments\": {}}, {\"tool\": \"get_weather\", \"args\": {\"days\": 1}}]\n",
        "c \"now\"\na \"{}\"\ne \"\"\nc \"get_weather\"\na \"{\\\"days\\\": 1}\"\ne \"\"",
    ),
    golden("json", "", "[1, 2, 3]", "t \"[1, 2, 3]\""),
    golden(
        "json",
        "",
        "{\"answer\": [\"name\"]} ",
        "t \"{\\\"answer\\\": [\\\"name\\\"]} \"",
    ),
    golden(
        "granite",
        "granite",
        "Here is my thought process: simple.\nHere is my response: <|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]",
        "r \"simple.\"\nc \"now\"\na \"{}\"\ne \"\"",
    ),
    golden(
        "phi4_mini_json",
        "",
        "functools[{\"name\": \"now\", \"arguments\": {}}]",
        "c \"now\"\na \"{}\"\ne \"\"",
    ),
    golden(
        "jamba",
        "",
        "<tool_calls>[\n{\"name\": \"now\", \"arguments\": {}}\n]</tool_calls>",
        "c \"now\"\na \"{}\"\ne \"\"",
    ),
    golden(
        "internlm",
        "",
        "ok<|action_start|><|plugin|>\n{\"name\": \"now\", \"parameters\": {}}<|action_end|>",
        "t \"ok\"\nc \"now\"\na \"{}\"\ne \"\"",
    ),
    // Both of the ways of one family.
    golden(
        "mistral",
        "",
        "[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"get_weather\", \"arguments\": {\"city\": \"]\"}}]",
        "c \"now\"\na \"{}\"\ne \"\"\nc \"get_weather\"\na \"{\\\"city\\\": \\\"]\\\"}\"\ne \"\"",
    ),
    golden(
        "mistral",
        "mistral",
        "[THINK]hm[/THINK]I look.[TOOL_CALLS]get_weather{\"city\": \"a\"}[TOOL_CALLS]now[CALL_ID]abc123456[ARGS]{}",
        "r \"hm\"\nt \"I look.\"\nc \"get_weather\"\na \"{\\\"city\\\": \\\"a\\\"}\"\ne \"\"\nc \"now\"\na \"{}\"\ne \"\"",
    ),
    golden("mistral", "", "[TOOL_CALLS]now[AR", "t \"[TOOL_CALLS]now[AR\""),
    golden(
        "deepseek_v3",
        "deepseek_v3",
        "Sure.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"```\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "t \"Sure.\"\nc \"get_weather\"\na \"{\\\"city\\\": \\\"```\\\"}\"\ne \"\"\nc \"now\"\na \"{}\"\ne \"\"",
    ),
    golden(
        "deepseek_v31",
        "",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"a\"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "c \"get_weather\"\na \"{\\\"city\\\": \\\"a\\\"}\"\ne \"\"\nc \"now\"\na \"{}\"\ne \"\"",
    ),
    golden(
        "kimi_k2",
        "",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{\"city\": \"a\"}<|tool_call_end|><|tool_calls_section_end|>",
        "c \"get_weather\"\na \"{\\\"city\\\": \\\"a\\\"}\"\ne \"\"",
    ),
    // Python, which is read and never run.
    golden(
        "pythonic",
        "",
        "[get_weather(city='O\\'Hare \"x\"', days=3, unit=None), now()]",
        "c \"get_weather\"\na \"{\\\"city\\\": \\\"O'Hare \\\\\\\"x\\\\\\\"\\\", \\\"days\\\": 3, \\\"unit\\\": null}\"\ne \"\"\nc \"now\"\na \"{}\"\ne \"\"",
    ),
    golden(
        "pythonic",
        "",
        "[now(a={'k': [1, 2,], 3: (True, -.5)}, b=__import__('os'))]",
        "c \"now\"\na \"{\\\"a\\\": {\\\"k\\\": [1, 2], \\\"3\\\": [true, -0.5]}, \\\"b\\\": \\\"__import__\\\"\"\ne \"\"\nt \"('os'))]\"",
    ),
    golden("pythonic", "", "[1, 2] is a list", "t \"[1, 2] is a list\""),
    golden("pythonic", "", "[print(1)]", "t \"[print(1)]\""),
    golden(
        "llama4_pythonic",
        "",
        "Well.<|python_start|>[now(x=\"\\u00e4\\n\")]<|python_end|>",
        "t \"Well.\"\nc \"now\"\na \"{\\\"x\\\": \\\"ä\\\\n\\\"}\"\ne \"\"",
    ),
    golden(
        "olmo3",
        "+olmo3",
        "hm</think><function_calls>\nget_weather(city=\"a\")\nnow()\n</function_calls>",
        "r \"hm\"\nc \"get_weather\"\na \"{\\\"city\\\": \\\"a\\\"}\"\ne \"\"\nc \"now\"\na \"{}\"\ne \"\"",
    ),
    // Tags, whose values the schema explains.
    golden(
        "qwen3_coder",
        "",
        "I will.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nline \"1\"\n\nline < 2\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=unit>\nnull\n</parameter>\n</function>\n</tool_call>",
        "t \"I will.\"\nc \"get_weather\"\na \"{\\\"city\\\": \\\"line \\\\\\\"1\\\\\\\"\\\\n\\\\nline < 2\\\", \\\"days\\\": 3, \\\"unit\\\": null}\"\ne \"\"",
    ),
    golden(
        "qwen3_coder",
        "",
        "<function=now>\n<parameter=x>7</parameter>\n<parameter=y>seven</parameter></function></tool_call><tool_call><function=now></function></tool_call>",
        "c \"now\"\na \"{\\\"x\\\": 7, \\\"y\\\": \\\"seven\\\"}\"\ne \"\"\nc \"now\"\na \"{}\"\ne \"\"",
    ),
    golden(
        "qwen3_coder",
        "",
        "<tool_call><function=now><parameter=x>1</parameter></tool_call>ok",
        "c \"now\"\na \"{\\\"x\\\": 1}\"\ne \"\"\nt \"ok\"",
    ),
    golden(
        "qwen3_coder",
        "",
        "<tool_call> <b>no</b>",
        "t \"<tool_call> <b>no</b>\"",
    ),
    // All of it is the arguments.
    golden(
        "=now",
        "",
        " {\"a\": [1]} \n",
        "c \"now\"\na \"{\\\"a\\\": [1]}\"\ne \"\"",
    ),
    golden(
        "=now",
        "+think",
        "hm\n</think>\n{\"a\"",
        "r \"hm\"\nc \"now\"\na \"{\\\"a\\\"\"",
    ),
    // Reasoning.
    golden(
        "",
        "think",
        "<think>\na  b\n</think>\n\nc ",
        "r \"a  b\"\nt \"c\"",
    ),
    golden(
        "",
        "qwen3",
        "no tag, <think> in the text </think>",
        "t \"no tag, <think> in the text </think>\"",
    ),
    golden("", "+qwen3", "\na</think>b", "r \"a\"\nt \"b\""),
    golden(
        "",
        "+deepseek_r1",
        "<think>\na <think> b</think>c",
        "r \"a <think> b\"\nt \"c\"",
    ),
    golden("", "think", "<think>never ends </thin", "r \"never ends </thin\""),
    // Tags in arguments are arguments.
    golden(
        "=now",
        "think",
        "<think>a</think>{\"a\": \"</think> <think>\"}",
        "r \"a\"\nc \"now\"\na \"{\\\"a\\\": \\\"</think> <think>\\\"}\"\ne \"\"",
    ),
    golden("", "think", "\n</think>\nanswer", "t \"\\n\\nanswer\""),
    golden(
        "",
        "think",
        "<think></think><think>a</think>b",
        "r \"a\"\nt \"b\"",
    ),
    golden("", "seed_oss", "<seed:think>a</seed:think>b", "r \"a\"\nt \"b\""),
    golden(
        "hermes",
        "think",
        "<think>a</think><tool_call>{\"name\":\"now\",\"arguments\":{}}</tool_call>\n<think>b</think>c",
        "r \"a\"\nc \"now\"\na \"{}\"\ne \"\"\nr \"b\"\nt \"c\"",
    ),
];

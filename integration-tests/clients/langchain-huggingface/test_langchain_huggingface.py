"""`langchain-huggingface`: endpoints of text-generation-inference, plain and as chats."""

import pytest
from langchain_huggingface import ChatHuggingFace, HuggingFaceEndpoint


@pytest.fixture()
def endpoint(ask) -> HuggingFaceEndpoint:
    return HuggingFaceEndpoint(
        endpoint_url=ask.url,
        task="text-generation",
        max_new_tokens=12,
        temperature=0.01,
        seed=1,
        huggingfacehub_api_token="none",
    )


@pytest.fixture()
def chat(ask) -> ChatHuggingFace:
    endpoint = HuggingFaceEndpoint(
        endpoint_url=ask.url, task="text-generation", max_new_tokens=100, huggingfacehub_api_token="none"
    )
    return ChatHuggingFace(llm=endpoint, model_id="tgi", temperature=0.01, seed=1, max_tokens=100)


def test_text_and_stream(endpoint: HuggingFaceEndpoint) -> None:
    whole = endpoint.invoke("Once upon a time")
    assert whole
    assert "".join(endpoint.stream("Once upon a time")) in whole


def test_stop(endpoint: HuggingFaceEndpoint) -> None:
    whole = endpoint.invoke("Once upon a time")
    word = whole.split()[-2]
    assert not endpoint.invoke("Once upon a time", stop=[word]).endswith(whole.split()[-1])


def test_chat_and_stream(chat: ChatHuggingFace, ask) -> None:
    assert chat.invoke(ask.capital).content == ask.paris
    assert "".join(chunk.content for chunk in chat.stream(ask.capital)) == ask.paris


def test_tools(chat: ChatHuggingFace, ask) -> None:
    answer = chat.bind_tools([ask.tool], tool_choice="required").invoke(ask.weather)
    (call,) = answer.tool_calls
    ask.check_call(call["name"], call["args"])


def test_json_schema(chat: ChatHuggingFace, ask) -> None:
    answer = chat.with_structured_output(ask.schema, method="json_schema").invoke(ask.person)
    ask.check_person(answer)

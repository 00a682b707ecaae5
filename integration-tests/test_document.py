"""The document of the API is one by the standard's own rules."""

from openapi_spec_validator import OpenAPIV31SpecValidator

from harness import Server


def test_the_document_is_valid(demo: Server) -> None:
    with demo.client() as client:
        document = client.get("/api-doc/openapi.json").json()
    OpenAPIV31SpecValidator(document).validate()
    assert {"/v1/chat/completions", "/v1/completions", "/generate", "/tokenize"} <= document["paths"].keys()

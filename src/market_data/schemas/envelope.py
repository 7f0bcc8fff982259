"""The two shapes every JSON answer has: a list with a token, or a problem."""

from typing import Generic, TypeVar

from pydantic import BaseModel, Field

ItemT = TypeVar("ItemT")


class Page(BaseModel, Generic[ItemT]):
    """A page of a list."""

    data: list[ItemT]
    next_page_token: str | None = Field(description="Opaque; null exactly when nothing follows.")


class FieldProblem(BaseModel):
    """One field at fault."""

    field: str
    message: str


class Problem(BaseModel):
    """Why a request was not served (RFC 9457)."""

    type: str = Field(description="about:blank, or a link to what this kind of problem means.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="Path of the request.")
    request_id: str = Field(description="Stands in every log line of the request.")
    errors: list[FieldProblem] = Field(default=[], description="The fields at fault, where some are.")

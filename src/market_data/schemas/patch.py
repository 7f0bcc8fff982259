"""Merge patches (RFC 7396): what is absent stays, null empties what may be empty."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


def _without_null(schema: dict[str, Any], patch: type["MergePatch"]) -> None:
    """Say in the schema what cannot be emptied."""
    for name in patch.kept:
        told = schema["properties"][name]
        kept = [one for one in told.pop("anyOf") if one != {"type": "null"}]
        told.pop("default")
        told |= kept[0]


class MergePatch(BaseModel):
    """What is to be changed; every field is optional."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_without_null)

    kept: ClassVar[tuple[str, ...]] = ()
    """Fields that everything has, and that cannot be null."""

    @field_validator("*", mode="before")
    @classmethod
    def _stays(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.field_name in cls.kept:
            raise ValueError("cannot be null")
        return value

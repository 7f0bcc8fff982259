"""What every catalogue repository can do.

Bars have no single id and never travel as objects: `market_price.py` has a reader and a writer of columns.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

EntityT = TypeVar("EntityT")
FilterT_contra = TypeVar("FilterT_contra", contravariant=True)


class Repository(Protocol[EntityT, FilterT_contra]):
    """Entities of one table by id. The unit of work (commit, rollback) belongs to the caller's session."""

    async def find(self, entity_id: int) -> EntityT | None:
        """Return the entity, or None."""
        ...

    async def get(self, entity_id: int) -> EntityT:
        """Return the entity.

        Raises:
            NotFound: no such id.

        """
        ...

    async def list_(
        self, wanted: FilterT_contra, *, limit: int, after: Sequence[object] | None = None
    ) -> list[EntityT]:
        """Return at most `limit` matches in the repository's fixed order, behind the key `after`."""
        ...

    async def create(self, entity: EntityT) -> EntityT:
        """Store a new entity and fill in what the database decides."""
        ...

    async def update(self, entity: EntityT) -> EntityT:
        """Store what changed of an entity read before."""
        ...

    async def delete(self, entity_id: int) -> None:
        """Remove the entity."""
        ...

"""Queries of the PostgreSQL data source: SQL with Grafana's macros, and the shape of what comes back."""

from collections.abc import Mapping
from typing import Literal

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef

SOURCE_TYPE = "grafana-postgresql-datasource"
SOURCE_UID = "market-data"
SOURCE = DataSourceRef(type_val=SOURCE_TYPE, uid=SOURCE_UID)

Kind = Literal["time", "number", "string", "boolean"]
Shape = Mapping[str, Kind]


class Query(Dataquery, Builder["Query"]):
    """SQL and the columns it returns, in their order.

    A query whose first column is `time` is a time series: Grafana draws each number column, and where
    a column `metric` says whose number it is, a line for each of them.
    """

    def __init__(self, sql: str, shape: Shape, ref_id: str = "A") -> None:
        self.sql = " ".join(sql.split())
        self.shape = shape
        self.ref_id = ref_id

    @property
    def is_series(self) -> bool:
        """Whether it is drawn over time."""
        return next(iter(self.shape)) == "time"

    def build(self) -> "Query":
        """Return itself: it is complete."""
        return self

    def to_json(self) -> dict[str, object]:
        """Return the query as the data source's plugin keeps it."""
        return {
            "refId": self.ref_id,
            "datasource": SOURCE,
            "editorMode": "code",
            "format": "time_series" if self.is_series else "table",
            "rawQuery": True,
            "rawSql": self.sql,
        }

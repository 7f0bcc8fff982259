SELECT r.id AS run_id, r.source, r.created_at, j.reason, j.rows
FROM ingestion_run r
CROSS JOIN LATERAL (
    SELECT x.reason, count(*) AS rows FROM rejection x WHERE x.run_id = r.id GROUP BY x.reason) j

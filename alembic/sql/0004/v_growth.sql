SELECT g.day, g.runs, g.inserted, g.updated, g.rejected, sum(g.inserted) OVER (ORDER BY g.day)::bigint AS bars
FROM (SELECT date_trunc('day', finished_at, 'UTC') AS day, count(*) AS runs, sum(inserted)::bigint AS inserted,
             sum(updated)::bigint AS updated, sum(rejected)::bigint AS rejected
      FROM ingestion_run WHERE finished_at IS NOT NULL GROUP BY 1) g

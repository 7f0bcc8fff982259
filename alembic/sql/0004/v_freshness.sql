SELECT s.id AS series_id, s.instrument_id, i.symbol, i.exchange, i.asset_class, s.interval, s.source, s.basis,
       i.active, s.last_ts, s.updated_at, now() - bar_end(s.last_ts, s.interval) AS age, d.due_at,
       greatest(now() - d.due_at, interval '0') AS overdue, i.active AND now() > d.due_at + g.grace AS stale
FROM series s JOIN instrument i ON i.id = s.instrument_id
CROSS JOIN LATERAL (SELECT s.last_ts AT TIME ZONE 'UTC' + interval '1 day' AS day) n
CROSS JOIN LATERAL (
    SELECT CASE extract(isodow FROM n.day) WHEN 6 THEN n.day + interval '2 days'
                                           WHEN 7 THEN n.day + interval '1 day' ELSE n.day END AS day) w
CROSS JOIN LATERAL (
    SELECT bar_end(CASE WHEN i.asset_class = 'crypto' OR s.interval IN ('1w', '1mo')
                        THEN bar_end(s.last_ts, s.interval) ELSE w.day AT TIME ZONE 'UTC' END, s.interval) AS due_at) d
CROSS JOIN LATERAL (
    SELECT greatest(3 * bar_length(s.interval), CASE WHEN i.asset_class = 'crypto'
                    THEN interval '15 minutes' ELSE interval '4 days' END) AS grace) g
WHERE s.bar_count > 0

SELECT greatest(step_start(b.ts, $7, $2), $5), (array_agg(b.open ORDER BY b.ts))[1], max(b.high), min(b.low),
       (array_agg(b.close ORDER BY b.ts DESC))[1], sum(b.volume)
FROM bars_in_range($1, $2, $3, $4, $5, $6, 0) b
GROUP BY 1 ORDER BY 1

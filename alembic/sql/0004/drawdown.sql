SELECT greatest(step_start(d.ts, $7, $2), $5), max(d.peak), min(CASE WHEN d.peak > 0 THEN d.close / d.peak - 1 END)
FROM (SELECT b.ts, b.close, max(b.close) OVER (ORDER BY b.ts) AS peak
      FROM bars_in_range($1, $2, $3, $4, $5, $6, 0) b) d
GROUP BY 1 ORDER BY 1

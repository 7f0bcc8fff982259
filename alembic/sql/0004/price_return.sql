SELECT r.at, r.close, CASE WHEN r.before > 0 THEN r.close / r.before - 1 END,
       CASE WHEN r.before > 0 AND r.close > 0 THEN ln(r.close / r.before) END,
       CASE WHEN r.base > 0 THEN r.close / r.base - 1 END
FROM (
    SELECT c.at, c.close, c.inside, lag(c.close) OVER w AS before, first_value(c.close) OVER w AS base
    FROM (SELECT b.ts >= $5 AS inside,
                 CASE WHEN b.ts >= $5 THEN greatest(step_start(b.ts, $7, $2), $5) ELSE b.ts END AS at,
                 (array_agg(b.close ORDER BY b.ts DESC))[1] AS close
          FROM bars_in_range($1, $2, $3, $4, $5, $6, 1) b GROUP BY 1, 2) c
    WINDOW w AS (ORDER BY c.at)) r
WHERE r.inside ORDER BY r.at

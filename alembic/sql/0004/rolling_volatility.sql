DECLARE factor double precision := coalesce(periods_per_year, (
    SELECT periods_per_year($2, i.asset_class) FROM instrument i WHERE i.id = $1));
BEGIN
    IF window_bars IS NULL OR window_bars NOT BETWEEN 2 AND 1000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('window_bars is 2 to 1000, not %s', window_bars);
    END IF;
    RETURN QUERY
    SELECT DISTINCT ON (t.at) t.at, t.volatility * sqrt(factor), factor
    FROM (
        SELECT greatest(step_start(r.ts, step, $2), $5) AS at, r.ts,
               CASE WHEN count(r.log_return) OVER w = window_bars THEN stddev_samp(r.log_return) OVER w END
                   AS volatility
        FROM (SELECT b.ts, CASE WHEN b.close > 0 AND lag(b.close) OVER (ORDER BY b.ts) > 0
                                THEN ln(b.close / lag(b.close) OVER (ORDER BY b.ts)) END AS log_return
              FROM bars_in_range($1, $2, $3, $4, $5, $6, window_bars) b) r
        WINDOW w AS (ORDER BY r.ts ROWS BETWEEN window_bars - 1 PRECEDING AND CURRENT ROW)) t
    WHERE t.ts >= $5
    ORDER BY t.at, t.ts DESC;
END

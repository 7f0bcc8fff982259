    RETURN QUERY
    SELECT s.id, i.id, i.symbol, i.exchange, i.asset_class, i.currency, s.source, s.basis, f.ts, f.close,
           l.ts, l.close, l.close - f.close, CASE WHEN f.close > 0 THEN l.close / f.close - 1 END
    FROM series s JOIN instrument i ON i.id = s.instrument_id
    CROSS JOIN LATERAL (SELECT p.ts, p.close FROM {table} p
        WHERE p.series_id = s.id AND p.ts >= start_ts AND p.ts < end_ts ORDER BY p.ts DESC LIMIT 1) l
    CROSS JOIN LATERAL (
        SELECT b.ts, b.close FROM (
            (SELECT p.ts, p.close, 1 AS place FROM {table} p
             WHERE p.series_id = s.id AND p.ts < start_ts ORDER BY p.ts DESC LIMIT 1)
            UNION ALL
            (SELECT p.ts, p.close, 2 FROM {table} p
             WHERE p.series_id = s.id AND p.ts >= start_ts AND p.ts < end_ts ORDER BY p.ts LIMIT 1)) b
        ORDER BY b.place LIMIT 1) f
    WHERE s.interval = bar_interval;

    IF lead_bars > 0 THEN
        SELECT coalesce(min(b.ts), start_ts) INTO begins
        FROM (SELECT p.ts FROM {table} p WHERE p.series_id = found_id AND p.ts < start_ts
              ORDER BY p.ts DESC LIMIT lead_bars) b;
    END IF;
    RETURN QUERY SELECT p.ts, p.open, p.high, p.low, p.close, nullif(p.volume, 'NaN') FROM {table} p
        WHERE p.series_id = found_id AND p.ts >= begins AND p.ts < end_ts ORDER BY p.ts;

SELECT s.id AS series_id, s.instrument_id, i.symbol, i.exchange, i.asset_class, i.currency, i.name,
       s.interval, s.source, s.basis, l.ts, l.open, l.high, l.low, l.close, l.volume, l.previous_ts,
       l.previous_close, l.close - l.previous_close AS change,
       CASE WHEN l.previous_close > 0 THEN l.close / l.previous_close - 1 END AS simple_return
FROM series s JOIN instrument i ON i.id = s.instrument_id
CROSS JOIN LATERAL (
    SELECT b.ts, b.open, b.high, b.low, b.close, nullif(b.volume, 'NaN') AS volume,
           lead(b.ts) OVER w AS previous_ts, lead(b.close) OVER w AS previous_close
    FROM ((SELECT p.ts, p.open, p.high, p.low, p.close, p.volume FROM market_price_intraday p
           WHERE p.series_id = s.id AND s.interval NOT IN ('1d', '1w', '1mo') ORDER BY p.ts DESC LIMIT 2)
          UNION ALL
          (SELECT p.ts, p.open, p.high, p.low, p.close, p.volume FROM market_price_daily p
           WHERE p.series_id = s.id AND s.interval IN ('1d', '1w', '1mo') ORDER BY p.ts DESC LIMIT 2)) b
    WINDOW w AS (ORDER BY b.ts DESC) ORDER BY b.ts DESC LIMIT 1) l

-- A hypertable's own files are empty: its chunks hold the bars, and only TimescaleDB tells their sizes,
-- compressed ones included. Its functions are called by name, since they are missing elsewhere.
DECLARE extension text; hyper boolean;
BEGIN
    SELECT quote_ident(n.nspname) INTO extension
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb';
    FOR table_name IN SELECT unnest(ARRAY['market_price_intraday', 'market_price_daily', 'price_block', 'series',
            'instrument', 'provider_symbol', 'ingestion_run', 'rejection']) LOOP
        kind := 'table'; compressed_chunks := 0; bars := NULL; hyper := false;
        uncompressed_bytes := NULL; compressed_bytes := NULL;
        IF extension IS NOT NULL THEN
            EXECUTE 'SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                     WHERE hypertable_schema = ''public'' AND hypertable_name = $1)' INTO hyper USING table_name;
        END IF;
        IF hyper THEN
            kind := 'hypertable';
            EXECUTE format('SELECT coalesce(sum(table_bytes), 0), coalesce(sum(index_bytes), 0),
                                   coalesce(sum(toast_bytes), 0) FROM %s.hypertable_detailed_size($1)', extension)
                INTO heap_bytes, index_bytes, toast_bytes USING table_name::regclass;
            EXECUTE 'SELECT count(*), count(*) FILTER (WHERE is_compressed) FROM timescaledb_information.chunks
                     WHERE hypertable_schema = ''public'' AND hypertable_name = $1'
                INTO chunks, compressed_chunks USING table_name;
            BEGIN
                EXECUTE format('SELECT sum(before_compression_total_bytes), sum(after_compression_total_bytes)
                                FROM %s.hypertable_compression_stats($1)', extension)
                    INTO uncompressed_bytes, compressed_bytes USING table_name::regclass;
            EXCEPTION WHEN feature_not_supported OR undefined_function THEN NULL;  -- the Apache edition refuses
            END;
        ELSE
            WITH RECURSIVE part AS (
                SELECT table_name::regclass::oid AS oid, 0 AS depth
                UNION ALL SELECT h.inhrelid, part.depth + 1 FROM pg_inherits h JOIN part ON h.inhparent = part.oid),
            sized AS (
                SELECT pg_table_size(c.oid) AS heap, pg_indexes_size(c.oid) AS index, part.depth,
                       coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0) AS toast
                FROM part JOIN pg_class c ON c.oid = part.oid)
            SELECT sum(z.heap - z.toast), sum(z.index), sum(z.toast), count(*) FILTER (WHERE z.depth > 0)
            INTO heap_bytes, index_bytes, toast_bytes, chunks FROM sized z;
        END IF;
        IF table_name LIKE 'market_price_%' THEN
            SELECT coalesce(sum(s.bar_count), 0) INTO bars FROM series s
            WHERE (s.interval IN ('1d', '1w', '1mo')) = (table_name = 'market_price_daily');
        END IF;
        total_bytes := heap_bytes + index_bytes + toast_bytes;
        bytes_per_bar := total_bytes::double precision / nullif(bars, 0);
        compression_ratio := uncompressed_bytes::double precision / nullif(compressed_bytes, 0);
        RETURN NEXT;
    END LOOP;
END

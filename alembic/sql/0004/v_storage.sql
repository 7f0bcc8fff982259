SELECT table_name, kind, bars, heap_bytes, index_bytes, toast_bytes, total_bytes, bytes_per_bar, chunks,
       compressed_chunks, uncompressed_bytes, compressed_bytes, compression_ratio
FROM storage()

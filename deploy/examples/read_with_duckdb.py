"""Read an export with DuckDB: how often a revision beat the first text, by channel and campaign.

draft-pipeline export --dir lake
python read_with_duckdb.py lake
"""

import sys

import duckdb

QUERY = """
SELECT r.channel, r.campaign_id AS campaign, count(*) AS revised,
       count(*) FILTER (WHERE r.applied) AS applied,
       round(avg(r.revision_confidence - r.original_confidence), 3) AS gain,
       count(*) FILTER (WHERE o.status = 'sent') AS sent
FROM read_parquet($lake || '/revision-result/*/data.parquet', hive_partitioning = true) r
LEFT JOIN (
    SELECT draft_id, arg_max(status, sequence) AS status
    FROM read_parquet($lake || '/draft-outcome/*/data.parquet', hive_partitioning = true) GROUP BY draft_id
) o USING (draft_id)
WHERE r.attempted
GROUP BY ALL ORDER BY ALL
"""

if __name__ == "__main__":
    print(duckdb.connect().execute(QUERY, {"lake": sys.argv[1]}).fetchall())

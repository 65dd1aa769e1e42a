-- name: nothing()
-- Placeholder.
SELECT 1;

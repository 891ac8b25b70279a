-- What a restored ledger goes on with, of all workspaces.

-- name: queue_count_all
SELECT count(*) FROM queue

-- name: todo_count_all
SELECT count(*) FROM todo

INSERT INTO authors (name) VALUES ('Ada'), ('Grace'), ('Edsger');

INSERT INTO notes (author_id, title, body)
SELECT authors.id, seeds.title, seeds.body
FROM (
    SELECT 'Ada' AS author, 'Analytical engine' AS title, 'It weaves algebraical patterns.' AS body
    UNION ALL SELECT 'Ada',    'Note G',        'A table of numbers, made by a machine.'
    UNION ALL SELECT 'Grace',  'First bug',     'Found in relay 70, panel F.'
    UNION ALL SELECT 'Grace',  'Compilers',     'They said it could not be done.'
    UNION ALL SELECT 'Edsger', 'Shortest path', 'Designed in twenty minutes, over a coffee.'
) AS seeds
JOIN authors ON authors.name = seeds.author;

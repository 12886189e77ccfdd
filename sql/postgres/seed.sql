INSERT INTO authors (name) VALUES ('Ada'), ('Grace'), ('Edsger');

INSERT INTO notes (author_id, title, body)
SELECT authors.id, seeds.title, seeds.body
FROM (VALUES
    ('Ada',    'Analytical engine', 'It weaves algebraical patterns.'),
    ('Ada',    'Note G',            'A table of numbers, made by a machine.'),
    ('Grace',  'First bug',         'Found in relay 70, panel F.'),
    ('Grace',  'Compilers',         'They said it could not be done.'),
    ('Edsger', 'Shortest path',     'Designed in twenty minutes, over a coffee.')
) AS seeds (author, title, body)
JOIN authors ON authors.name = seeds.author;

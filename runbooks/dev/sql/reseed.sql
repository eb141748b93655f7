-- Synthetic orders: the same every time, so that a test can count on them.
truncate orders restart identity;
insert into orders (customer, state, total_cents, placed_at)
select 'customer-' || (n % 40), (array['placed', 'paid', 'shipped'])[1 + n % 3], 500 + (n * 37) % 9000,
       now() - n * interval '7 minutes'
from generate_series(1, 500) as n;

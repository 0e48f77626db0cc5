-- The attributes of p after those of s: set, or taken away where s has null.
(p.attributes || s.attributes) - ARRAY(SELECT key FROM jsonb_each(s.attributes) WHERE value = 'null')

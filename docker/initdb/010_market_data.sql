-- Run once, when the volume is empty: the role the program logs in as. It owns its database and may make logins
-- for readers, and is no superuser. Its password comes from the environment: no command line shows it.
\getenv password MARKET_DATA_PASSWORD
CREATE ROLE market_data LOGIN CREATEROLE PASSWORD :'password';
ALTER DATABASE market_data OWNER TO market_data;

//! Several statements carried out by one call. Each call goes to the thread of the connection and back, which takes
//! longer than most of the statements.

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, Type};

use crate::StoreError;

/// Statements that answer no rows, with their values, in the order in which they are to be carried out.
#[derive(Default)]
pub(super) struct Script {
    sql: String,
    arguments: SqliteArguments,
}

impl Script {
    /// Adds a statement; its placeholders are plain question marks. Only constants go into the text.
    pub(super) fn add(&mut self, statement: &'static str) -> &mut Script {
        self.sql.push_str(statement);
        self.sql.push(';');
        self
    }

    /// Binds the next placeholder of the statement added last.
    pub(super) fn bind<'v>(&mut self, value: impl Encode<'v, Sqlite> + Type<Sqlite> + 'v) -> &mut Script {
        self.arguments.add(value).expect("texts and numbers are always encoded");
        self
    }

    /// Carries it out.
    pub(super) async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        if !self.sql.is_empty() {
            sqlx::query_with(AssertSqlSafe(self.sql), self.arguments).execute(connection).await?;
        }
        Ok(())
    }
}

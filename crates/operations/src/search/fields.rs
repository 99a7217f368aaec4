//! The fields of filters, and which operators apply to each.

use super::MAX_LABEL_KEY_BYTES;
use super::lexer::{Token, is_word};

/// A field of the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Status,
    Kind,
    ProjectId,
    CreatedAt,
    StartedAt,
    FinishedAt,
    ResourceType,
    ResourceId,
    Id,
    UniqueKey,
    Schedule,
    Label(String),
    Worker,
    Attempts,
    Priority,
    ErrorMessage,
    Input,
    Output,
}

/// The type of the values of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// One of several values; whether values can be excluded.
    Set {
        can_exclude: bool,
    },
    Time,
    Number,
    /// Texts that must occur in the field.
    Contained,
}

/// All fields by their names; labels have names of their own.
const FIELDS: [(&str, Field); 17] = [
    ("status", Field::Status),
    ("kind", Field::Kind),
    ("project_id", Field::ProjectId),
    ("created_at", Field::CreatedAt),
    ("started_at", Field::StartedAt),
    ("finished_at", Field::FinishedAt),
    ("resource_type", Field::ResourceType),
    ("resource_id", Field::ResourceId),
    ("id", Field::Id),
    ("unique_key", Field::UniqueKey),
    ("schedule", Field::Schedule),
    ("worker", Field::Worker),
    ("attempts", Field::Attempts),
    ("priority", Field::Priority),
    ("error_message", Field::ErrorMessage),
    ("input", Field::Input),
    ("output", Field::Output),
];

impl Field {
    /// The field with this name, or what is wrong with the name.
    pub(super) fn named(name: &str) -> Result<Field, String> {
        if let Some(key) = name.strip_prefix("labels.") {
            return match key.len() {
                0 => Err("\"labels.\" must be followed by the key of a label, e.g. labels.team".to_owned()),
                1..=MAX_LABEL_KEY_BYTES if key.chars().all(is_word) => Ok(Field::Label(key.to_owned())),
                _ => Err(format!("the key of a label must not have more than {MAX_LABEL_KEY_BYTES} bytes")),
            };
        }
        let found = FIELDS.into_iter().find(|(of, _)| *of == name);
        found.map(|(_, field)| field).ok_or_else(|| {
            let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
            let what = Token::Word(name.to_owned()).shown();
            format!("{what} is not a field; the fields are {} and labels.KEY", names.join(", "))
        })
    }

    pub(super) fn name(&self) -> String {
        match self {
            Field::Label(key) => format!("labels.{key}"),
            field => FIELDS.iter().find(|(_, of)| of == field).map(|(name, _)| *name).unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn sort(&self) -> Sort {
        match self {
            Field::Status | Field::Kind | Field::ProjectId | Field::Worker => Sort::Set { can_exclude: true },
            Field::ResourceType
            | Field::ResourceId
            | Field::Id
            | Field::UniqueKey
            | Field::Schedule
            | Field::Label(_) => Sort::Set { can_exclude: false },
            Field::CreatedAt | Field::StartedAt | Field::FinishedAt => Sort::Time,
            Field::Attempts | Field::Priority => Sort::Number,
            Field::ErrorMessage | Field::Input | Field::Output => Sort::Contained,
        }
    }
}

impl Sort {
    /// Whether values may be compared with this operator.
    pub(super) fn takes(self, sign: &Token) -> bool {
        let order = matches!(sign, Token::Less | Token::LessOrEqual | Token::Greater | Token::GreaterOrEqual);
        match self {
            Sort::Set { can_exclude } => *sign == Token::Equal || can_exclude && *sign == Token::NotEqual,
            Sort::Time => order,
            Sort::Number => order || *sign == Token::Equal,
            Sort::Contained => *sign == Token::Has,
        }
    }

    /// The operators that may be used, as messages show them.
    pub(super) fn signs(self) -> &'static str {
        match self {
            Sort::Set { can_exclude: true } => "= and !=",
            Sort::Set { can_exclude: false } => "=",
            Sort::Time => ">=, >, < and <=",
            Sort::Number => "=, >=, >, < and <=",
            Sort::Contained => ": (contains)",
        }
    }
}

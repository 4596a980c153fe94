//! One entry of a list, checked: by file or by API, the same faults.

use compact_str::CompactString;
use xxhash_rust::xxh3::Xxh3;

use crate::domain::draft::{ATTRIBUTE_LEN_MAX, check_text};
use crate::domain::field::TextRule;
use crate::domain::{Field, FieldRef, Timestamp, ValueKind, card_number};

const REASON_LEN_MAX: usize = 200;

/// Which list an entry is on; deny comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListKind {
    /// Stop what matches.
    Deny,
    /// Let through what matches.
    Allow,
}

impl ListKind {
    /// Both lists, deny first.
    pub const ALL: [Self; 2] = [Self::Deny, Self::Allow];

    /// Returns the name used in files, paths and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }

    /// Finds a list by its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|list| list.name() == name)
    }
}

/// What a file or a request says of an entry, unchecked.
#[derive(Clone, Debug, Default)]
pub struct EntryDraft {
    /// `allow` or `deny`.
    pub list: String,
    /// A dotted path, such as `card.token`.
    pub field: String,
    /// The exact value.
    pub value: String,
    /// Why it is listed, for people.
    pub reason: String,
    /// When it stops to count, RFC 3339; for ever when absent.
    pub expires_at: Option<String>,
    /// Who put it there.
    pub added_by: Option<String>,
}

/// One thing wrong with an entry. It never repeats the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}; {cure}")]
pub struct EntryFault {
    /// The key it is about.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub cure: String,
}

/// One checked entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// Which list.
    pub list: ListKind,
    /// The text field or attribute it is about.
    pub field: FieldRef,
    /// The exact value.
    pub value: CompactString,
    /// Why, for people: 1 to 200 bytes.
    pub reason: CompactString,
    /// From this instant on it no longer counts; `None` is for ever.
    pub expires_at: Option<Timestamp>,
    /// Who put it there; `None` for the file's own.
    pub added_by: Option<CompactString>,
}

impl ListEntry {
    /// Checks a draft.
    ///
    /// # Errors
    /// Every fault, in the order of the draft's keys.
    pub fn check(draft: EntryDraft) -> Result<Self, Vec<EntryFault>> {
        let mut faults = Vec::new();
        let list = ListKind::parse(&draft.list);
        if list.is_none() {
            faults.push(fault("list", "list is unknown", "write \"allow\" or \"deny\""));
        }
        let field = listed_field(&draft.field, &mut faults);
        check_value(field.as_ref(), &draft.value, &mut faults);
        check_words("reason", &draft.reason, &mut faults);
        if let Some(added_by) = &draft.added_by {
            check_words("added_by", added_by, &mut faults);
        }
        let expires_at = draft.expires_at.as_deref().map(Timestamp::parse);
        if expires_at == Some(None) {
            let cure = "write an RFC 3339 instant with an offset, such as 2026-12-31T00:00:00Z";
            faults.push(fault("expires_at", "expires_at is not an instant", cure));
        }
        match (list, field) {
            (Some(list), Some(field)) if faults.is_empty() => Ok(Self {
                list,
                field,
                value: draft.value.into(),
                reason: draft.reason.into(),
                expires_at: expires_at.flatten(),
                added_by: draft.added_by.map(CompactString::from),
            }),
            _ => Err(faults),
        }
    }

    /// Tells whether the entry still counts.
    #[must_use]
    pub fn is_in_effect(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// Returns the field's dotted path.
    #[must_use]
    pub fn field_path(&self) -> CompactString {
        match &self.field {
            FieldRef::Known(field) => field.path().into(),
            FieldRef::Attribute(name) => compact_str::format_compact!("attributes.{name}"),
        }
    }

    /// What tells entries apart, and their order for people.
    pub(super) fn key(&self) -> (ListKind, CompactString, &str) {
        (self.list, self.field_path(), &self.value)
    }

    /// Hashes everything the entry says.
    pub(super) fn hash(&self) -> u128 {
        let mut hash = Xxh3::new();
        let mut part = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        part(self.list.name());
        part(&self.field_path());
        part(&self.value);
        part(&self.reason);
        part(self.added_by.as_deref().unwrap_or(""));
        let expires_at = self.expires_at.map_or(-1, Timestamp::micros);
        hash.update(&expires_at.to_le_bytes());
        hash.digest128()
    }
}

fn listed_field(path: &str, faults: &mut Vec<EntryFault>) -> Option<FieldRef> {
    let field = FieldRef::parse(path);
    let Some(field) = field.filter(|field| kind(field) == ValueKind::Text) else {
        let cure = "write a text field such as card.token, device.id or attributes.NAME";
        faults.push(fault("field", "field is no text field of a transaction", cure));
        return None;
    };
    Some(field)
}

/// An attribute that is sent as another kind than text never matches.
const fn kind(field: &FieldRef) -> ValueKind {
    match field {
        FieldRef::Known(field) => field.kind(),
        FieldRef::Attribute(_) => ValueKind::Text,
    }
}

/// Refuses a value that no transaction can have, and a full card number wherever it must not be.
fn check_value(field: Option<&FieldRef>, value: &str, faults: &mut Vec<EntryFault>) {
    let wrong = match field {
        Some(FieldRef::Known(Field::Text(field))) => {
            check_text(field.rule(), value).err().map(|(_, expected)| expected)
        }
        Some(FieldRef::Known(Field::TransactionId)) => {
            check_text(TextRule::Id, value).err().map(|(_, expected)| expected)
        }
        Some(FieldRef::Known(Field::Currency)) => {
            let known = crate::domain::Currency::parse(value).is_some();
            (!known).then_some("expected an ISO 4217 code in capitals, such as EUR")
        }
        Some(FieldRef::Known(
            Field::OccurredAt | Field::Amount | Field::BaseAmount | Field::Latitude | Field::Longitude,
        )) => Some("numbers cannot be listed"),
        Some(FieldRef::Attribute(_)) | None if value.is_empty() || value.len() > ATTRIBUTE_LEN_MAX => {
            Some("expected 1 to 256 bytes")
        }
        Some(FieldRef::Attribute(_)) | None => {
            card_number::found_in(value).then_some("holds a full card number: list a token instead")
        }
    };
    if let Some(expected) = wrong {
        faults.push(fault("value", expected, "a value that no transaction can have would never match"));
    }
}

fn check_words(key: &'static str, words: &str, faults: &mut Vec<EntryFault>) {
    if words.trim().is_empty() || words.len() > REASON_LEN_MAX || words.chars().any(char::is_control) {
        let message = format!("{key} is empty, longer than {REASON_LEN_MAX} bytes or not one line");
        faults.push(fault(key, &message, "write one short line for people"));
    } else if card_number::found_in(words) {
        faults.push(fault(key, &format!("{key} holds a full card number"), "remove it"));
    }
}

fn fault(key: &'static str, message: &str, cure: &str) -> EntryFault {
    EntryFault { key, message: message.into(), cure: cure.into() }
}

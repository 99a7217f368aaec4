//! How many elements a message may have, checked before it is decoded: an empty element has two bytes on the wire, and
//! takes hundreds of bytes in memory.
//!
//! The check walks only over the fields of the message itself, by their tags. Bytes that no decoder understands end the
//! walk where they end the decoder, so that nothing after them gets into memory either.

use operations::MAX_LABELS;

use crate::error::ApiError;

/// No list of messages has more elements.
pub(super) const MOST_MESSAGES: usize = 1_000;
/// More texts are not read into memory, as over HTTP. If a shorter list is too long for its field, the call reports it,
/// together with everything else that is wrong.
pub(super) const MOST_TEXTS: usize = 10_000;
/// More labels of an operation are not read into memory, as over HTTP; the domain accepts far fewer.
pub(super) const MOST_LABELS: usize = 4 * MAX_LABELS;
/// The number of `labels` in a `CreateOperationRequest`.
const LABELS: u64 = 13;
/// The bytes before a message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// A list in a request.
struct List {
    /// The number of its field.
    number: u64,
    name: &'static str,
    /// How many elements the call accepts.
    most: usize,
    /// How many are read at most.
    read: usize,
}

/// Where a request has the operation to create.
#[derive(Clone, Copy)]
enum Creation {
    /// Nowhere.
    No,
    /// The request itself is one.
    Whole,
    /// In the field `operation` with this number.
    In(u64),
    /// In each element of the list `operations` with this number.
    Each(u64),
}

/// Refuses a body with a message that has more elements than any call accepts, with the same error as over HTTP.
///
/// # Errors
/// [`ApiError::Invalid`]; and [`ApiError::Malformed`] for a message that claims to be longer than it is, for which no
/// memory must be allocated.
pub(super) fn check(path: &str, mut body: &[u8]) -> Result<(), ApiError> {
    while let Some((head, rest)) = body.split_first_chunk::<HEAD>() {
        let [is_compressed, a, b, c, d] = *head;
        if is_compressed != 0 {
            // Compressed messages are refused anyway.
            return Ok(());
        }
        body = rest;
        let ended_early = || ApiError::Malformed("the request's message ended early".to_owned());
        let message = taken(&mut body, u32::from_be_bytes([a, b, c, d]).into()).ok_or_else(ended_early)?;
        check_message(path, message)?;
    }
    Ok(())
}

fn check_message(path: &str, message: &[u8]) -> Result<(), ApiError> {
    let (lists, creation) = shape(path);
    if lists.is_empty() && matches!(creation, Creation::No) {
        return Ok(());
    }
    let mut counts = vec![0_usize; lists.len()];
    let (mut labels, mut creations) = (0, 0_usize);
    for (number, value) in Fields::of(message) {
        if let Some((list, count)) = lists.iter().zip(&mut counts).find(|(list, _)| list.number == number) {
            *count += 1;
            if *count > list.read {
                return Err(ApiError::field(list.name, format!("must be a list of 1 to {} elements", list.most)));
            }
        }
        let place = match creation {
            Creation::Whole if number == LABELS => {
                labels += 1;
                String::new()
            }
            // A field that is given twice is merged from both.
            Creation::In(operation) if number == operation => {
                labels += labels_of(value);
                "operation.".to_owned()
            }
            Creation::Each(operations) if number == operations => {
                labels = labels_of(value);
                creations += 1;
                format!("operations[{}].", creations - 1)
            }
            _ => continue,
        };
        if labels > MOST_LABELS {
            let description = format!("are more than {MOST_LABELS}; at most {MAX_LABELS} are allowed");
            return Err(ApiError::field(format!("{place}labels"), description));
        }
    }
    Ok(())
}

/// How many labels the bytes of a `CreateOperationRequest` have.
fn labels_of(creation: &[u8]) -> usize {
    Fields::of(creation).filter(|(number, _)| *number == LABELS).count()
}

/// The lists that a request may have.
fn shape(path: &str) -> (&'static [List], Creation) {
    const OPERATIONS: &[List] = &[messages("operations")];
    const RESULTS: &[List] = &[messages("results")];
    const CLAIM: &[List] = &[texts(1, "kinds", 100), texts(4, "organizations", 1_000)];
    const TOKEN: &[List] = &[texts(2, "scopes", 6), texts(3, "projects", 1_000), texts(7, "organizations", 1_000)];
    const CREATED_VIEW: &[List] = &[texts(3, "columns", 32)];
    const UPDATED_VIEW: &[List] = &[texts(4, "columns", 32)];
    match path {
        "/longrun.v1.AsyncOperationsService/CreateOperation" => (&[], Creation::Whole),
        "/longrun.v1.AsyncOperationsService/BatchCreateOperations" => (OPERATIONS, Creation::Each(1)),
        "/longrun.v1.SchedulesService/CreateSchedule" | "/longrun.v1.SchedulesService/UpdateSchedule" => {
            (&[], Creation::In(5))
        }
        "/longrun.v1.WorkerService/ClaimOperations" => (CLAIM, Creation::No),
        "/longrun.v1.WorkerService/HeartbeatOperations" => (OPERATIONS, Creation::No),
        "/longrun.v1.WorkerService/SettleOperations" => (RESULTS, Creation::No),
        "/longrun.v1.TokensService/CreateToken" => (TOKEN, Creation::No),
        "/longrun.v1.ViewsService/CreateView" => (CREATED_VIEW, Creation::No),
        "/longrun.v1.ViewsService/UpdateView" => (UPDATED_VIEW, Creation::No),
        _ => (&[], Creation::No),
    }
}

/// A list of messages, which is the first field of its request.
const fn messages(name: &'static str) -> List {
    List { number: 1, name, most: MOST_MESSAGES, read: MOST_MESSAGES }
}

const fn texts(number: u64, name: &'static str, most: usize) -> List {
    List { number, name, most, read: MOST_TEXTS }
}

/// The fields of a message, in the order in which they are encoded: the number of each, and the bytes of its value.
/// Groups, which no message here has, are skipped.
struct Fields<'m> {
    rest: &'m [u8],
    /// How many groups have begun and not ended.
    groups: usize,
}

impl<'m> Fields<'m> {
    fn of(message: &'m [u8]) -> Fields<'m> {
        Fields { rest: message, groups: 0 }
    }
}

impl<'m> Iterator for Fields<'m> {
    type Item = (u64, &'m [u8]);

    fn next(&mut self) -> Option<(u64, &'m [u8])> {
        loop {
            let tag = varint(&mut self.rest)?;
            let value: &'m [u8] = match tag & 7 {
                0 => {
                    varint(&mut self.rest)?;
                    &[]
                }
                1 => taken(&mut self.rest, 8)?,
                2 => {
                    let length = varint(&mut self.rest)?;
                    taken(&mut self.rest, length)?
                }
                3 => {
                    self.groups += 1;
                    continue;
                }
                4 => {
                    self.groups = self.groups.checked_sub(1)?;
                    continue;
                }
                5 => taken(&mut self.rest, 4)?,
                _ => return None,
            };
            if self.groups == 0 {
                return Some((tag >> 3, value));
            }
        }
    }
}

/// Takes an integer of one to ten bytes, of which all but the last have their highest bit set.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let bytes = *rest;
    let mut value = 0;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            *rest = &bytes[place + 1..];
            // The tenth byte can hold only a single bit.
            return (place < 9 || *byte < 2).then_some(value);
        }
    }
    None
}

/// Takes this many bytes, if there are that many.
fn taken<'m>(rest: &mut &'m [u8], length: u64) -> Option<&'m [u8]> {
    let bytes = *rest;
    let (taken, left) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use prost::Message;
    use prost_types::field_descriptor_proto::Label;
    use prost_types::{DescriptorProto, FileDescriptorSet};
    use proto::longrun::v1 as wire;

    use super::*;

    const BATCH: &str = "/longrun.v1.AsyncOperationsService/BatchCreateOperations";
    const CREATE: &str = "/longrun.v1.AsyncOperationsService/CreateOperation";
    const SCHEDULE: &str = "/longrun.v1.SchedulesService/CreateSchedule";

    /// A method as the files in `proto/` define it.
    pub(in crate::grpc) struct Method {
        pub(in crate::grpc) path: String,
        /// Whether its request is a single message.
        is_unary: bool,
        request: DescriptorProto,
    }

    /// Every method of the services.
    pub(in crate::grpc) fn methods() -> Vec<Method> {
        let files = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap().file;
        let message = |name: &str| {
            let found = files.iter().find_map(|file| {
                let short = name.strip_prefix(&format!(".{}.", file.package()))?;
                file.message_type.iter().find(|message| message.name() == short)
            });
            found.unwrap_or_else(|| panic!("there is no message {name}")).clone()
        };
        let services = files.iter().flat_map(|file| file.service.iter().map(move |service| (file, service)));
        let methods = services.flat_map(|(file, service)| {
            let prefix = format!("/{}.{}", file.package(), service.name());
            service.method.iter().map(move |method| (format!("{prefix}/{}", method.name()), method))
        });
        let shown = |(path, method): (String, &prost_types::MethodDescriptorProto)| Method {
            path,
            is_unary: !method.client_streaming(),
            request: message(method.input_type()),
        };
        methods.map(shown).collect()
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, message].concat()
    }

    /// This many empty elements of the field with this tag.
    fn empty(tag: u8, count: usize) -> Vec<u8> {
        [tag, 0].repeat(count)
    }

    fn refused(path: &str, message: &[u8]) -> Result<(), (String, String)> {
        check(path, &framed(message)).map_err(|error| match error {
            ApiError::Invalid(mut violations) => {
                assert_eq!(violations.len(), 1, "{violations:?}");
                let violation = violations.remove(0);
                (violation.field, violation.description)
            }
            other => panic!("{other:?}"),
        })
    }

    fn too_many(most: usize, field: &str) -> Result<(), (String, String)> {
        Err((field.to_owned(), format!("must be a list of 1 to {most} elements")))
    }

    #[test]
    fn every_list_of_a_request_is_bounded_by_its_number_and_name() {
        for method in methods().iter().filter(|method| method.is_unary) {
            let (lists, creation) = shape(&method.path);
            let mut known: Vec<(u64, &str)> = lists.iter().map(|list| (list.number, list.name)).collect();
            if matches!(creation, Creation::Whole) {
                known.push((LABELS, "labels"));
            }
            let repeated = method.request.field.iter().filter(|field| field.label() == Label::Repeated);
            let mut wanted: Vec<(u64, &str)> =
                repeated.map(|field| (u64::try_from(field.number()).unwrap(), field.name())).collect();
            wanted.sort_unstable();
            known.sort_unstable();
            assert_eq!(known, wanted, "{}", method.path);
            for field in &method.request.field {
                let holds_creations = field.type_name() == ".longrun.v1.CreateOperationRequest";
                let number = u64::try_from(field.number()).unwrap();
                let is_known = match creation {
                    Creation::In(one) | Creation::Each(one) => one == number,
                    Creation::No | Creation::Whole => false,
                };
                assert_eq!(holds_creations, is_known, "{} {}", method.path, field.name());
            }
        }
    }

    #[test]
    fn elements_beyond_the_bound_are_told_as_over_http() {
        assert_eq!(refused(BATCH, &empty(0x0a, 1_000)), Ok(()));
        assert_eq!(refused(BATCH, &empty(0x0a, 1_001)), too_many(1_000, "operations"));
        let claim = "/longrun.v1.WorkerService/ClaimOperations";
        assert_eq!(refused(claim, &empty(0x0a, 10_000)), Ok(()), "the call reports it with everything else");
        assert_eq!(refused(claim, &empty(0x0a, 10_001)), too_many(100, "kinds"));
        assert_eq!(refused(claim, &empty(0x22, 10_001)), too_many(1_000, "organizations"));
        assert_eq!(refused("/longrun.v1.StatsService/GetStats", &empty(0x0a, 20_000)), Ok(()), "the last one counts");
        // A message behind the first one is read as well.
        let two = [framed(&[]), framed(&empty(0x0a, 1_001))].concat();
        assert!(matches!(check(BATCH, &two), Err(ApiError::Invalid(_))));
    }

    #[test]
    fn nothing_that_a_decoder_passes_over_hides_what_follows() {
        let many = empty(0x0a, 1_001);
        for (what, before) in [
            ("a varint", &[0x78, 0xff, 0x01][..]),
            ("eight bytes", &[0x79, 1, 2, 3, 4, 5, 6, 7, 8]),
            ("text", &[0x7a, 2, b'a', b'b']),
            ("a group", &[0x7b, 0x0a, 0, 0x83, 0x01, 0x84, 0x01, 0x7c]),
            ("four bytes", &[0x7d, 1, 2, 3, 4]),
            ("a long tag", &[0xf8, 0x80, 0x80, 0x00, 0]),
        ] {
            let message = [before, &many].concat();
            assert!(wire::BatchCreateOperationsRequest::decode(&*message).is_ok(), "{what}");
            assert_eq!(refused(BATCH, &message), too_many(1_000, "operations"), "{what}");
        }
    }

    #[test]
    fn where_the_walk_ends_the_decoder_ends() {
        let many = empty(0x0a, 1_001);
        for (what, before) in [
            ("a type that there is not", &[0x7e][..]),
            ("the end of no group", &[0x7c]),
            ("a number of eleven bytes", &[0xff; 11]),
            ("a number above 64 bits", &[0x78, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
            ("a length beyond the end", &[0x7a, 0xff, 0xff, 0x7f]),
        ] {
            let message = [before, &many].concat();
            assert!(wire::BatchCreateOperationsRequest::decode(&*message).is_err(), "{what}");
            assert_eq!(refused(BATCH, &message), Ok(()), "{what}");
        }
        assert!(check(BATCH, &[0, 0, 0]).is_ok(), "half a head");
        assert!(check(BATCH, &[1, 0xff, 0xff, 0xff, 0xff]).is_ok(), "compressed");
        assert!(matches!(check(BATCH, &[0, 0xff, 0xff, 0xff, 0xff]), Err(ApiError::Malformed(_))));
    }

    #[test]
    fn labels_are_bounded_wherever_they_stand() {
        let creation = |count: usize| wire::CreateOperationRequest {
            kind: "scan".to_owned(),
            labels: (0..count).map(|number| (number.to_string(), String::new())).collect(),
            ..Default::default()
        };
        let wrong = |field: &str| -> Result<(), (String, String)> {
            Err((field.to_owned(), "are more than 64; at most 16 are allowed".to_owned()))
        };
        assert_eq!(refused(CREATE, &creation(64).encode_to_vec()), Ok(()), "the call reports it with everything else");
        assert_eq!(refused(CREATE, &creation(65).encode_to_vec()), wrong("labels"));
        let batch =
            |operations| wire::BatchCreateOperationsRequest { operations, ..Default::default() }.encode_to_vec();
        assert_eq!(refused(BATCH, &batch(vec![creation(64); 3])), Ok(()));
        assert_eq!(refused(BATCH, &batch(vec![creation(64), creation(65)])), wrong("operations[1].labels"));
        let schedule = |count| wire::CreateScheduleRequest { operation: Some(creation(count)), ..Default::default() };
        assert_eq!(refused(SCHEDULE, &schedule(64).encode_to_vec()), Ok(()));
        let twice = [schedule(40).encode_to_vec(), schedule(40).encode_to_vec()].concat();
        assert_eq!(refused(SCHEDULE, &twice), wrong("operation.labels"));
    }
}

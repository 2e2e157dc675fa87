//! Hostile input to the parsers of this crate: what must hold for any bytes. The tests here feed it from a seeded generator; the fuzz targets
//! of `runsc-rs/fuzz` (`cargo +nightly fuzz run control`, `… run config`) include this file.

use crate::control::wire::{Decoder, Reply, Request, encode};
use crate::oci;

/// A stream of control frames, in portions: it is refused or understood, and what is understood says the same when it is sent on.
pub fn control(bytes: &[u8]) {
    let portion = usize::from(bytes.first().copied().unwrap_or(0)) + 1;
    let mut decoder = Decoder::default();
    for chunk in bytes.chunks(portion) {
        if decoder.push(chunk, []).is_err() {
            return;
        }
        while let Ok(Some((request, _))) = decoder.next::<Request>() {
            let again = encode(&request);
            let mut other = Decoder::default();
            assert!(other.push(&again, []).is_ok());
            let Ok(Some((same, _))) = other.next::<Request>() else {
                panic!("{request:?} is not understood when sent on")
            };
            assert_eq!(encode(&same), again);
        }
    }
    let mut decoder = Decoder::default();
    if decoder.push(bytes, []).is_ok() {
        while let Ok(Some(_)) = decoder.next::<Reply>() {}
    }
}

/// A config.json: an error that says something, or a configuration whose process and filter can be made.
pub fn config(bytes: &[u8]) {
    let checked = oci::parse(bytes).and_then(|spec| oci::validate(&spec).map(|()| spec));
    match checked {
        Ok(spec) => {
            let process = spec.process().as_ref().expect("validate wants one");
            let _ = oci::process::Process::from_oci(process);
            if let Some(profile) = spec.linux().as_ref().and_then(|l| l.seccomp().as_ref()) {
                let program = oci::seccomp::compile(profile).expect("validate compiled it");
                assert!(sentry::kernel::seccomp::bpf::Program::new(&program.code).is_ok());
            }
        }
        Err(e) => assert!(!format!("{e:#}").trim().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// Every place in a document, as a list of steps.
    fn places(value: &Value, here: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
        out.push(here.clone());
        let children: Vec<(String, &Value)> = match value {
            Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), v)).collect(),
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(i, v)| (i.to_string(), v))
                .collect(),
            _ => Vec::new(),
        };
        for (key, child) in children {
            here.push(key);
            places(child, here, out);
            here.pop();
        }
    }

    fn at<'a>(mut value: &'a mut Value, place: &[String]) -> &'a mut Value {
        for step in place {
            value = match value {
                Value::Array(list) => &mut list[step.parse::<usize>().unwrap()],
                other => &mut other[step.as_str()],
            };
        }
        value
    }

    fn odd_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            "[a-z/.:=]{0,12}".prop_map(Value::from),
            Just(json!([])),
            Just(json!({})),
            Just(json!(["ro", "size=9999999999999999999", "uid=-1", "=", ""])),
            Just(json!("/../../etc")),
            Just(json!(1e300)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

        #[test]
        fn configurations(changes in proptest::collection::vec((any::<usize>(), odd_value()), 1..4)) {
            let mut document = crate::oci::default::config(false);
            document["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {"names": ["read", "clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 7, "op": "SCMP_CMP_LT"}]}]});
            document["hooks"] = json!({"prestart": [{"path": "/bin/true", "args": ["true"], "timeout": 3}]});
            for (place, value) in changes {
                let mut all = Vec::new();
                places(&document, &mut Vec::new(), &mut all);
                let place = &all[place % all.len()];
                *at(&mut document, place) = value;
            }
            config(&serde_json::to_vec(&document).unwrap());
        }

        #[test]
        fn damaged_configurations(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
            let mut text = serde_json::to_vec(&crate::oci::default::config(false)).unwrap();
            for (place, value) in changes {
                let place = place % text.len();
                text[place] = value;
            }
            config(&text);
        }

        #[test]
        fn control_frames(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            control(&bytes);
        }

        #[test]
        fn damaged_control_frames(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6), signal in any::<i32>()) {
            let mut stream = encode(&Request::Signal { signal, all: true, pid: Some(signal) });
            stream.extend(encode(&Request::Ps));
            stream.extend(encode(&Request::Strace { on: true }));
            for (place, value) in changes {
                let place = place % stream.len();
                stream[place] = value;
            }
            control(&stream);
        }
    }
}

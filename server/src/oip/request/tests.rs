use dyno_core::ElementType;

use super::*;

fn spec(name: &str, element: ElementType, shape: &[usize]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        element,
        shape: shape.to_vec(),
    }
}

/// Reads a request for a model of input `x` [1, 2] and outputs `a` and `b`.
fn parse(json: &str, tail: &[u8], json_bytes: Option<usize>) -> Result<InferRequest> {
    let input = spec("x", ElementType::F32, &[1, 2]);
    let outputs = [
        spec("a", ElementType::F32, &[1, 3]),
        spec("b", ElementType::I64, &[1]),
    ];
    let body = [json.as_bytes(), tail].concat();
    InferRequest::parse(body, json_bytes, &input, &outputs)
}

fn json(json: &str) -> Result<InferRequest> {
    parse(json, b"", None)
}

fn refused(result: Result<InferRequest>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    error.to_string()
}

const INPUT: &str = r#"{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]}"#;
const BINARY: &str = r#"{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32",
    "parameters": {"binary_data_size": 8}}]}"#;

fn bytes() -> Vec<u8> {
    TensorData::F32(vec![1.0, 2.5]).to_le_bytes()
}

fn both(binary: bool) -> Vec<Output> {
    vec![Output { index: 0, binary }, Output { index: 1, binary }]
}

#[test]
fn the_three_forms_of_a_request_are_one() {
    let plain = json(&format!(r#"{{"id": "7", "inputs": [{INPUT}]}}"#)).unwrap();
    let expected = InferRequest {
        id: Some("7".into()),
        input: bytes(),
        outputs: both(false),
        timeout: None,
    };
    assert_eq!(plain, expected);
    let binary = parse(BINARY, &bytes(), Some(BINARY.len())).unwrap();
    assert_eq!(
        binary,
        InferRequest {
            id: None,
            ..expected.clone()
        }
    );
    let raw = parse("", &bytes(), Some(0)).unwrap();
    assert_eq!(
        raw,
        InferRequest {
            id: None,
            outputs: both(true),
            ..expected
        }
    );
}

#[test]
fn outputs_come_as_they_are_asked_for() {
    let ask = |parameters: &str, outputs: &str| {
        json(&format!(
            r#"{{"parameters": {{{parameters}}}, "inputs": [{INPUT}], "outputs": {outputs}}}"#
        ))
        .unwrap()
        .outputs
    };
    let all_binary = r#""binary_data_output": true"#;
    assert_eq!(ask("", "[]"), both(false));
    assert_eq!(ask(all_binary, "null"), both(true));
    assert_eq!(
        ask(
            all_binary,
            r#"[{"name": "b"}, {"name": "a", "parameters": {"binary_data": false}}]"#
        ),
        [
            Output {
                index: 1,
                binary: true
            },
            Output {
                index: 0,
                binary: false
            },
        ]
    );
    assert_eq!(
        ask(
            "",
            r#"[{"name": "b", "parameters": {"binary_data": true}}]"#
        ),
        [Output {
            index: 1,
            binary: true
        }]
    );
}

#[test]
fn a_timeout_is_in_microseconds() {
    let timeout = |value: &str| {
        json(&format!(
            r#"{{"parameters": {{"timeout": {value}}}, "inputs": [{INPUT}]}}"#
        ))
    };
    assert_eq!(
        timeout("1500").unwrap().timeout,
        Some(Duration::from_micros(1500))
    );
    assert_eq!(timeout("0").unwrap().timeout, None);
    for bad in ["-1", "1.5", "\"1\"", "1e3", "18446744073709551616"] {
        refused(timeout(bad));
    }
}

#[test]
fn harmless_parameters_pass_and_others_are_named() {
    let with = |parameter: &str| {
        json(&format!(
            r#"{{"parameters": {{{parameter}}}, "inputs": [{INPUT}]}}"#
        ))
    };
    for good in [
        r#""priority": 0"#,
        r#""sequence_id": 0, "sequence_start": false, "sequence_end": false"#,
        r#""content_type": "np""#,
    ] {
        assert!(with(good).is_ok(), "{good}");
    }
    for (bad, named) in [
        (r#""priority": 1"#, "priority"),
        (r#""sequence_id": 3"#, "sequence_"),
        (r#""sequence_start": true"#, "sequence_"),
        (r#""headers": "a""#, "headers"),
        (
            r#""triton_enable_empty_final_response": true"#,
            "triton_enable",
        ),
        (r#""binary_data_output": 1"#, "binary_data_output"),
        (r#""a\nb\u001b": 1"#, r"a\nb\u{1b}"),
    ] {
        let text = refused(with(bad));
        assert!(text.contains(named), "{bad}: {text}");
    }
    refused(with(r#""timeout": 1, "timeout": 2"#));
    refused(with(r#""timeout": [1]"#));
    let many: Vec<_> = (0..33).map(|i| format!(r#""{i}": 1"#)).collect();
    refused(with(&many.join(", ")));
}

#[test]
fn what_does_not_fit_the_model_is_refused() {
    let input = |name: &str, shape: &str, datatype: &str, rest: &str| {
        format!(r#"{{"name": "{name}", "shape": {shape}, "datatype": "{datatype}"{rest}}}"#)
    };
    let data = r#", "data": [1, 2]"#;
    for (inputs, expected) in [
        (String::new(), "missing"),
        (format!("{INPUT}, {INPUT}"), "twice"),
        (input("y", "[1, 2]", "FP32", data), "no input 'y'"),
        (input("x", "[1, 2]", "FP16", data), "FP16"),
        (input("x", "[1, 2]", "BYTES", data), "BYTES"),
        (input("x", "[2, 1]", "FP32", data), "shape"),
        (input("x", "[2]", "FP32", data), "shape"),
        (input("x", "[]", "FP32", data), "shape"),
        (input("x", "[1, 2, 1]", "FP32", data), "shape"),
        (input("x", "[0, 2]", "FP32", data), "shape"),
        (
            input("x", "[4294967296, 4294967296]", "FP32", data),
            "shape",
        ),
        (
            input("x", "[18446744073709551615, 2]", "FP32", data),
            "shape",
        ),
        (input("x", "[1, -2]", "FP32", data), "-2"),
        (input("x", "[1, 2.0]", "FP32", data), "2.0"),
        (
            input("x", &format!("[{}1]", "1, ".repeat(16)), "FP32", data),
            "at most",
        ),
        (input("x", "[1, 2]", "FP32", ""), "neither"),
        (input("x", "[1, 2]", "FP32", r#", "data": [1]"#), "elements"),
        (
            input("x", "[1, 2]", "FP32", r#", "data": [1, 2, 3]"#),
            "elements",
        ),
        (
            input("x", "[1, 2]", "FP32", r#", "data": [[1], [2]]"#),
            "nested",
        ),
        (
            input("x", "[1, 2]", "FP32", r#", "data": [[1], 2]"#),
            "evenly",
        ),
        (
            input(
                "x",
                "[1, 2]",
                "FP32",
                r#", "parameters": {"shared_memory_region": "a"}, "data": [1, 2]"#,
            ),
            "shared_memory_region",
        ),
        (
            input("x", "[1, 2]", "FP32", r#", "data": [1, 2], "extra": 1"#),
            "extra",
        ),
        (
            input("x", "[1, 2]", "FP32", r#", "name": "x", "data": [1, 2]"#),
            "duplicate",
        ),
    ] {
        let text = refused(json(&format!(r#"{{"inputs": [{inputs}]}}"#)));
        assert!(text.contains(expected), "{inputs}: {text}");
    }
    let nested = input("x", "[1, 2]", "FP32", r#", "data": [[1, 2.5]]"#);
    assert_eq!(
        json(&format!(r#"{{"inputs": [{nested}]}}"#)).unwrap().input,
        bytes()
    );
}

#[test]
fn outputs_that_there_are_not_are_refused() {
    for (outputs, expected) in [
        (r#"[{"name": "c"}]"#, "no output 'c'"),
        (r#"[{"name": "a"}, {"name": "a"}]"#, "twice"),
        (
            r#"[{"name": "a", "parameters": {"classification": 3}}]"#,
            "classification",
        ),
        (
            r#"[{"name": "a", "parameters": {"binary_data": 1}}]"#,
            "binary_data",
        ),
        (r#"[{"name": "a", "datatype": "FP32"}]"#, "datatype"),
        ("{}", "list"),
    ] {
        let text = refused(json(&format!(
            r#"{{"inputs": [{INPUT}], "outputs": {outputs}}}"#
        )));
        assert!(text.contains(expected), "{outputs}: {text}");
    }
    let many = vec![r#"{"name": "a"}"#; 257].join(", ");
    refused(json(&format!(
        r#"{{"inputs": [{INPUT}], "outputs": [{many}]}}"#
    )));
}

#[test]
fn bytes_add_up_exactly() {
    let all = bytes();
    let size = |size: &str| BINARY.replace('8', size);
    for (json, tail, json_bytes, expected) in [
        (
            BINARY.to_owned(),
            &all[..7],
            Some(BINARY.len()),
            "7 bytes follow",
        ),
        (
            BINARY.into(),
            &[0; 9][..],
            Some(BINARY.len()),
            "9 bytes follow",
        ),
        (
            BINARY.into(),
            &all[..0],
            Some(BINARY.len()),
            "0 bytes follow",
        ),
        (BINARY.into(), &all[..0], None, "inference-header"),
        (
            BINARY.into(),
            &all[..],
            Some(BINARY.len() + 9),
            "inference-header",
        ),
        (
            BINARY.into(),
            &all[..],
            Some(usize::MAX),
            "inference-header",
        ),
        (BINARY.into(), &all[..], Some(BINARY.len() - 1), "JSON"),
        (BINARY.into(), &all[..], None, "JSON"),
        (
            size("7"),
            &all[..7],
            Some(BINARY.len()),
            "has 8 bytes, not 7",
        ),
        (
            size("-8"),
            &all[..],
            Some(BINARY.len() + 1),
            "binary_data_size",
        ),
        (
            size("8.0"),
            &all[..],
            Some(BINARY.len() + 2),
            "binary_data_size",
        ),
        (
            size("18446744073709551615"),
            &all[..],
            Some(BINARY.len() + 19),
            "has 8 bytes",
        ),
        (String::new(), &all[..7], Some(0), "has 8 bytes"),
        (String::new(), &all[..0], Some(0), "has 8 bytes"),
        (
            format!(r#"{{"inputs": [{INPUT}]}}"#),
            &all[..1],
            Some(INPUT.len() + 14),
            "no input claims",
        ),
        (
            BINARY.replace("\"parameters\"", "\"data\": [1, 2], \"parameters\""),
            &all[..],
            Some(BINARY.len() + 16),
            "both",
        ),
    ] {
        let text = refused(parse(&json, tail, json_bytes));
        assert!(text.contains(expected), "{json} {json_bytes:?}: {text}");
    }
}

#[test]
fn only_json_is_json() {
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"inputs": null}"#,
        r#"{"inputs": {}}"#,
        r#"{"inputs": []} {}"#,
        "{\"inputs\": []\u{0}}",
    ] {
        refused(json(body));
    }
    let twice = format!(r#"{{"inputs": [{INPUT}], "inputs": [{INPUT}]}}"#);
    assert!(refused(json(&twice)).contains("duplicate"));
    let unknown = format!(r#"{{"inputs": [{INPUT}], "output": []}}"#);
    assert!(refused(json(&unknown)).contains("output"));
    let id = |id: &str| json(&format!(r#"{{"id": "{id}", "inputs": [{INPUT}]}}"#));
    assert!(id(&"i".repeat(256)).is_ok());
    refused(id(&"i".repeat(257)));

    let input = spec("x", ElementType::F32, &[1, 2]);
    let not_utf8 = [br#"{"id": ""#, &[0xff, 0xfe][..], br#"", "inputs": []}"#].concat();
    refused(InferRequest::parse(not_utf8, None, &input, &[]));
}

#[test]
fn a_request_of_the_longest_numbers_is_within_the_limit() {
    let spec = spec("x", ElementType::F32, &[1, 1000]);
    let numbers = vec!["-1.1754943508222875e-38"; 1000].join(", ");
    let json = format!(
        r#"{{"inputs": [{{"name": "x", "shape": [1, 1000], "datatype": "FP32", "data": [{numbers}]}}]}}"#
    );
    assert!(json.len() < max_request_bytes(&spec));
    assert!(InferRequest::parse(json.into_bytes(), None, &spec, &[]).is_ok());
}

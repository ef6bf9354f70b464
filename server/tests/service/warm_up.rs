//! Between the start and the first request.

use crate::common::{client, cold, config, run, until};
use dyno_core::{Error, ErrorKind, Result};

fn broken() -> Result<()> {
    Err(Error::new(ErrorKind::Runtime, "no such op"))
}

#[tokio::test]
async fn a_server_is_ready_once_every_model_is_warm() {
    let (a, warm_a) = cold("a");
    let (b, warm_b) = cold("b");
    let (addr, _stop, _served) = run(config(), vec![a, b]).await;
    let client = client();
    let status = async |path: &str| {
        let url = format!("http://{addr}{path}");
        client.get(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("/v2/health/live").await, 200);
    assert_eq!(status("/v2/health/ready").await, 503);
    warm_a.send(Ok(())).unwrap();
    assert_eq!(status("/v2/health/ready").await, 503);
    warm_b.send(Ok(())).unwrap();
    until(async || status("/v2/health/ready").await == 200).await;
}

#[tokio::test]
async fn one_broken_model_does_not_keep_the_others_unless_strict() {
    for strict in [false, true] {
        let (a, warm_a) = cold("a");
        let (b, warm_b) = cold("b");
        let mut config = config();
        config.strict = strict;
        let (addr, _stop, served) = run(config, vec![a, b]).await;
        warm_a.send(broken()).unwrap();
        warm_b.send(Ok(())).unwrap();
        if strict {
            let error = served.await.unwrap().unwrap_err();
            assert!(error.to_string().contains("'a' cannot run"), "{error}");
        } else {
            let ready = format!("http://{addr}/v2/health/ready");
            until(async || client().get(&ready).send().await.unwrap().status() == 200).await;
        }
    }
}

#[tokio::test]
async fn a_server_without_any_model_that_runs_stops() {
    let (a, warm_a) = cold("a");
    let (_addr, _stop, served) = run(config(), vec![a]).await;
    warm_a.send(broken()).unwrap();
    assert_eq!(
        served.await.unwrap().unwrap_err().kind(),
        ErrorKind::Runtime
    );
}

#[tokio::test]
async fn a_server_told_to_stop_does_not_wait_for_the_warm_up() {
    let (a, _warm) = cold("a");
    let (_addr, stop, served) = run(config(), vec![a]).await;
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}

//! Plain HTTP/2 requests, as `curl --http2-prior-knowledge` sends them.

use reqwest::header::HeaderMap;
use serde_json::Value;

/// What came back; status 0 if nothing did.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

pub(crate) fn get(url: &str) -> Answer {
    block_on(send(client().get(url)))
}

/// Posts a body with headers.
pub(crate) fn post(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let mut request = client().post(url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    block_on(send(request))
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
    let Ok(response) = request.send().await else {
        return Answer {
            status: 0,
            headers: HeaderMap::new(),
            body: Vec::new(),
        };
    };
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap_or_default().to_vec(),
    }
}

pub(crate) fn client() -> reqwest::Client {
    // Fails if another test has been faster, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap()
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

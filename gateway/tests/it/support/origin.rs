//! A service behind the gateway.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{net::TcpListener, task::AbortHandle};

use super::{Head, Wire, within};

/// A listening service on a port of its own; it goes with the value.
pub(crate) struct Origin {
    address: SocketAddr,
    /// For [`Origin::accept`]; `None` when the origin answers by itself.
    listener: Option<TcpListener>,
    accepted: Arc<AtomicUsize>,
    task: Option<AbortHandle>,
}

impl Origin {
    /// A service whose every connection the test plays.
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            listener: Some(listener),
            accepted: Arc::default(),
            task: None,
        }
    }

    /// Answers every request with the head it got, connections kept. The request's body follows
    /// after an empty line.
    pub(crate) async fn echo() -> Self {
        Self::serve(|mut wire| async move {
            while let Ok(head) = wire.try_head().await {
                let Ok(body) = wire.body(&head).await else {
                    return;
                };
                if wire.try_send(echo(&head, &body)).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    /// Plays every connection on a task of its own.
    pub(crate) async fn serve<F, P>(play: P) -> Self
    where
        P: Fn(Wire) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut origin = Self::bind().await;
        let listener = origin.listener.take().unwrap();
        let accepted = Arc::clone(&origin.accepted);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                connections.spawn(play(Wire::new(stream)));
                while connections.try_join_next().is_some() {}
            }
        });
        origin.task = Some(task.abort_handle());
        origin
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next connection.
    #[track_caller]
    pub(crate) fn accept(&self) -> impl Future<Output = Wire> {
        within(async {
            let listener = self.listener.as_ref().expect("this origin plays itself");
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            self.accepted.fetch_add(1, Ordering::SeqCst);
            Wire::new(stream)
        })
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn echo(head: &Head, body: &[u8]) -> Vec<u8> {
    let mut text = format!("{}\r\n", head.line);
    for (name, value) in &head.fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let length = text.len() + body.len();
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nX-Origin: echo\r\nContent-Length: {length}\r\n\r\n{text}")
            .into_bytes();
    answer.extend_from_slice(body);
    answer
}

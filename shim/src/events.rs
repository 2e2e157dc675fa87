//! What containerd is told without asking, in order: one thread sends, and connects again when containerd was restarted.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use containerd_shim::Context;
use containerd_shim::event::Event;
use containerd_shim::protos::protobuf::MessageDyn;
use containerd_shim::publisher::RemotePublisher;

struct News {
    topic: String,
    event: Box<dyn MessageDyn>,
}

/// Where news go.
#[derive(Clone)]
pub struct Events(Sender<News>);

/// So often, a second apart, is a containerd that is not there waited for: it may be being replaced.
const TRIES: u32 = 60;

impl Events {
    /// Starts the thread.
    pub fn new(publisher: RemotePublisher, namespace: String) -> Events {
        let (send, receive) = channel();
        thread::spawn(move || deliver(publisher, &namespace, &receive));
        Events(send)
    }

    /// Sends one.
    pub fn send(&self, event: impl Event) {
        let topic = event.topic();
        let event = Box::new(event);
        // (The thread lives as long as the process.)
        let _ = self.0.send(News { topic, event });
    }
}

fn deliver(mut publisher: RemotePublisher, namespace: &str, news: &Receiver<News>) {
    while let Ok(News { topic, event }) = news.recv() {
        for n in 1.. {
            let context = Context {
                timeout_nano: Duration::from_secs(5).as_nanos() as i64,
                ..Context::default()
            };
            let copy = event.clone_box();
            match publisher.publish(context, &topic, namespace, copy) {
                Ok(()) => break,
                Err(e) if n == TRIES => {
                    log::error!("{topic}: {e}");
                    break;
                }
                Err(_) => thread::sleep(Duration::from_secs(1)),
            }
            let address = std::env::var("TTRPC_ADDRESS").unwrap_or_default();
            if let Ok(again) = RemotePublisher::new(address) {
                publisher = again;
            }
        }
    }
}

//! Connections that are not authorised yet: so many from one address and so many in all. When there is no
//! place the oldest gives way, so that nobody who only waits keeps anybody out.

use crate::model::limits::{GREETINGS, GREETINGS_OF_ONE};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Everybody who was not let in yet, the oldest first.
#[derive(Clone, Default)]
pub struct Strangers {
    waiting: Arc<Mutex<VecDeque<Stranger>>>,
}

struct Stranger {
    address: IpAddr,
    leaves: Arc<Notify>,
}

/// One stranger's place, until it is let in or goes.
pub struct Place {
    strangers: Strangers,
    leaves: Arc<Notify>,
}

impl Strangers {
    /// Takes a place, if need be that of the oldest from this address, else of the oldest from the address that
    /// has the most.
    pub fn enter(&self, address: IpAddr) -> Place {
        let leaves = Arc::new(Notify::new());
        let mut waiting = self.lock();
        let of = |waiting: &VecDeque<Stranger>, address| {
            waiting.iter().filter(|stranger| stranger.address == address).count()
        };
        let crowd = if of(&waiting, address) >= GREETINGS_OF_ONE {
            Some(address)
        } else if waiting.len() >= GREETINGS {
            // Rare, and of a few hundred.
            waiting.iter().map(|stranger| stranger.address).max_by_key(|address| of(&waiting, *address))
        } else {
            None
        };
        let oldest = waiting.iter().position(|stranger| Some(stranger.address) == crowd);
        if let Some(stranger) = oldest.and_then(|index| waiting.remove(index)) {
            stranger.leaves.notify_one();
        }
        waiting.push_back(Stranger { address, leaves: leaves.clone() });
        Place { strangers: self.clone(), leaves }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Stranger>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Ends when the place was given to another.
    ///
    /// # Cancel safety
    /// Dropped, nothing is lost.
    pub async fn is_lost(&self) {
        self.leaves.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.lock().retain(|stranger| !Arc::ptr_eq(&stranger.leaves, &self.leaves));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from(number as u32).into()
    }

    async fn is_lost(place: &Place) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, place.is_lost()).await.is_ok()
    }

    #[tokio::test]
    async fn the_oldest_of_an_address_gives_way_to_its_newest() {
        let strangers = Strangers::default();
        let other = strangers.enter(address(2));
        let places: Vec<Place> = (0..=GREETINGS_OF_ONE).map(|_| strangers.enter(address(1))).collect();
        assert!(is_lost(&places[0]).await);
        for kept in places[1..].iter().chain([&other]) {
            assert!(!is_lost(kept).await);
        }
    }

    #[tokio::test]
    async fn a_newcomer_takes_the_place_of_the_address_that_has_the_most() {
        let strangers = Strangers::default();
        let alone = strangers.enter(address(0));
        let crowd: Vec<Place> = (1..GREETINGS).map(|n| strangers.enter(address(1 + n % 5))).collect();
        let newcomer = strangers.enter(address(99));
        let mut n_lost = 0;
        for place in &crowd {
            n_lost += usize::from(is_lost(place).await);
        }
        assert_eq!(n_lost, 1);
        assert!(!is_lost(&alone).await && !is_lost(&newcomer).await);
        drop((crowd, newcomer));
        assert_eq!(strangers.lock().len(), 1, "who goes gives the place back");
    }
}

//! Addresses of Unix sockets (`unix(7)`): pathnames, abstract names, none.

use abi::Errno;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use sync::Mutex;

/// `sizeof(struct sockaddr_un)`
const MAX: usize = 110;
/// `AF_UNIX`, as the first two bytes of every address.
const FAMILY: [u8; 2] = 1u16.to_ne_bytes();

/// What a socket is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A path, without a terminating zero.
    Path(Vec<u8>),
    /// The bytes after the leading zero.
    Abstract(Vec<u8>),
}

impl Name {
    /// From a `sockaddr_un`; `Ok(None)` asks for a name of the kernel's choosing (autobind) and is only good for `bind`.
    pub fn parse(addr: &[u8]) -> Result<Option<Self>, Errno> {
        let (family, path) = addr.split_first_chunk::<2>().ok_or(Errno::EINVAL)?;
        if *family != FAMILY || addr.len() > MAX {
            return Err(Errno::EINVAL);
        }
        Ok(match path.split_first() {
            None => None,
            Some((0, rest)) => Some(Self::Abstract(rest.to_vec())),
            Some(_) => {
                let end = path.iter().position(|b| *b == 0).unwrap_or(path.len());
                Some(Self::Path(path.get(..end).unwrap_or(path).to_vec()))
            }
        })
    }

    /// As `getsockname(2)` shows it: a path with its zero, even where that makes 111 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Path(path) => [&FAMILY[..], path, &[0]].concat(),
            Self::Abstract(name) => [&FAMILY[..], &[0], name].concat(),
        }
    }

    /// The address of a socket without a name.
    pub fn unnamed() -> Vec<u8> {
        FAMILY.to_vec()
    }
}

/// Abstract names of one network namespace; each socket type has names of its own.
pub struct NameTable<T> {
    names: Mutex<Table<T>>,
}

struct Table<T> {
    by_name: BTreeMap<(i32, Vec<u8>), Weak<T>>,
    next_auto: u32,
}

impl<T> Default for NameTable<T> {
    fn default() -> Self {
        Self {
            names: Mutex::new(Table {
                by_name: BTreeMap::new(),
                next_auto: 0,
            }),
        }
    }
}

impl<T> NameTable<T> {
    /// Takes a name; `EADDRINUSE` if it has an owner.
    pub fn bind(&self, kind: i32, name: &[u8], socket: &Arc<T>) -> Result<(), Errno> {
        let mut table = self.names.lock();
        let key = (kind, name.to_vec());
        if table
            .by_name
            .get(&key)
            .is_some_and(|s| s.strong_count() != 0)
        {
            return Err(Errno::EADDRINUSE);
        }
        table.by_name.insert(key, Arc::downgrade(socket));
        Ok(())
    }

    /// Takes a free name of five hexadecimal digits; `ENOSPC` if there is none.
    pub fn autobind(&self, kind: i32, socket: &Arc<T>) -> Result<Vec<u8>, Errno> {
        for _ in 0..1u32 << 20 {
            let mut table = self.names.lock();
            let number = table.next_auto;
            table.next_auto = number.wrapping_add(1) & 0xf_ffff;
            let name = format!("{number:05x}").into_bytes();
            if table
                .by_name
                .get(&(kind, name.clone()))
                .is_none_or(|s| s.strong_count() == 0)
            {
                table
                    .by_name
                    .insert((kind, name.clone()), Arc::downgrade(socket));
                return Ok(name);
            }
        }
        Err(Errno::ENOSPC)
    }

    /// Whose name it is.
    pub fn find(&self, kind: i32, name: &[u8]) -> Option<Arc<T>> {
        self.names
            .lock()
            .by_name
            .get(&(kind, name.to_vec()))
            .and_then(Weak::upgrade)
    }

    /// Gives a name back.
    pub fn unbind(&self, kind: i32, name: &[u8]) {
        self.names.lock().by_name.remove(&(kind, name.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(Name::parse(&[1, 0]), Ok(None));
        assert_eq!(Name::parse(&[1]), Err(Errno::EINVAL));
        assert_eq!(Name::parse(&[2, 0, b'a']), Err(Errno::EINVAL));
        assert_eq!(
            Name::parse(b"\x01\x00/a\0junk"),
            Ok(Some(Name::Path(b"/a".to_vec())))
        );
        assert_eq!(
            Name::parse(b"\x01\x00\0ab\0"),
            Ok(Some(Name::Abstract(b"ab\0".to_vec())))
        );
        let mut long = vec![1, 0];
        long.resize(110, b'x');
        assert_eq!(Name::parse(&long).unwrap().unwrap().to_bytes().len(), 111);
        long.push(b'x');
        assert_eq!(Name::parse(&long), Err(Errno::EINVAL));
        assert_eq!(Name::Path(b"/a".to_vec()).to_bytes(), b"\x01\x00/a\0");
    }
}

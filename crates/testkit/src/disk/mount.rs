//! The disk as a file system.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, Session, SessionUnmounter, TimeOrNow, WriteFlags,
};

use super::lock;
use super::model::{Model, Refused, Seen};

/// The kernel may believe what it was told for so long: nobody else changes anything.
const KNOWN: Duration = Duration::from_secs(3_600);

struct Fs(Arc<Mutex<Model>>);

/// What a mounted disk is taken away by.
pub(super) struct Mounted(SessionUnmounter);

impl Mounted {
    /// Takes the mount away, also from under open files. Who has them open is answered as before.
    pub(super) fn detach(mut self, at: &Path) {
        if rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH).is_err() {
            // Who is not root mounted through a program, and unmounts through it. Twice does no harm.
            let _ = self.0.unmount();
        }
    }
}

/// Mounts it. `ended` is called when it was detached and the last file is closed, or when it can serve no more.
pub(super) fn mount(
    model: Arc<Mutex<Model>>,
    at: &Path,
    ended: impl FnOnce(io::Result<()>) + Send + 'static,
) -> io::Result<Mounted> {
    let mut config = Config::default();
    config.mount_options =
        vec![MountOption::FSName("roundtrip-test-disk".into()), MountOption::NoDev, MountOption::NoSuid];
    let mut session = Session::new(Fs(model), at, &config)?;
    let mounted = Mounted(session.unmount_callable());
    std::thread::Builder::new().name("disk".into()).spawn(move || ended(session.run()))?;
    Ok(mounted)
}

fn errno(refused: Refused) -> Errno {
    match refused {
        Refused::Io => Errno::EIO,
        Refused::Absent => Errno::ENOENT,
        Refused::Taken => Errno::EEXIST,
        Refused::NoDirectory => Errno::ENOTDIR,
        Refused::Directory => Errno::EISDIR,
        Refused::NotEmpty => Errno::ENOTEMPTY,
        Refused::Full => Errno::ENOSPC,
    }
}

fn kind(seen: &Seen) -> FileType {
    if seen.is_dir { FileType::Directory } else { FileType::RegularFile }
}

fn attributes(seen: &Seen) -> FileAttr {
    let time: SystemTime = UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(seen.inode),
        size: seen.bytes,
        blocks: seen.bytes.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: kind(seen),
        perm: if seen.is_dir { 0o755 } else { 0o644 },
        nlink: seen.links,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: 4_096,
        flags: 0,
    }
}

impl Fs {
    fn entry(&self, run: impl FnOnce(&mut Model) -> Result<Seen, Refused>, reply: ReplyEntry) {
        match run(&mut lock(&self.0)) {
            Ok(seen) => reply.entry(&KNOWN, &attributes(&seen), Generation(0)),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn empty(&self, run: impl FnOnce(&mut Model) -> Result<(), Refused>, reply: ReplyEmpty) {
        match run(&mut lock(&self.0)) {
            Ok(()) => reply.ok(),
            Err(refused) => reply.error(errno(refused)),
        }
    }
}

impl Filesystem for Fs {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(|model| model.look_up(parent.0, name), reply);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match lock(&self.0).see(inode.0) {
            Ok(seen) => reply.attr(&KNOWN, &attributes(&seen)),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut model = lock(&self.0);
        let cut = size.map_or(Ok(()), |size| model.truncate(inode.0, size));
        match cut.and_then(|()| model.see(inode.0)) {
            Ok(seen) => reply.attr(&KNOWN, &attributes(&seen)),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        self.entry(|model| model.make(parent.0, name, true), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty(|model| model.unlink(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty(|model| model.unlink(parent.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let replaces = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        self.empty(|model| model.rename((parent.0, name), (to_parent.0, to), replaces), reply);
    }

    fn link(&self, _: &Request, inode: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(|model| model.link(inode.0, parent.0, name), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match lock(&self.0).make(parent.0, name, false) {
            Ok(seen) => reply.created(
                &KNOWN,
                &attributes(&seen),
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match lock(&self.0).read(inode.0, offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match lock(&self.0).write(inode.0, offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Asked once, the kernel does not ask again: nothing happens when a file is closed.
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.empty(|model| model.sync(inode.0), reply);
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.empty(|model| model.sync_names(inode.0), reply);
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let names = match lock(&self.0).names(inode.0) {
            Ok(names) => names,
            Err(refused) => return reply.error(errno(refused)),
        };
        for (n, (name, seen)) in names.iter().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(seen.inode), n as u64 + 1, kind(seen), name) {
                break;
            }
        }
        reply.ok();
    }
}

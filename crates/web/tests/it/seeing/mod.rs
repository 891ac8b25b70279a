//! One story, the same as JSON, on a terminal and on a page; figures; and who may see them.

mod api;
mod click_files;
mod deliveries;
mod endpoints;
mod export;
mod jobs;
mod pages;
mod reconcile;
mod rules;
mod trouble;
mod world;

-- Sends the requests of a file in turn, each time with a new random 16-byte partner click id, and prints what
-- came of it as one line of JSON. Arguments: the file, a seed.
local threads = 0

function setup(thread)
  thread:set("index", threads)
  threads = threads + 1
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local text = file:read("*a")
  file:close()
  heads, tails, count = {}, {}, 0
  local from = 1
  while true do
    local at = text:find("@@CLICK@@", from, true)
    if not at then break end
    local stop = assert(text:find("@@NEXT@@", at, true))
    count = count + 1
    heads[count] = text:sub(from, at - 1)
    tails[count] = text:sub(at + 9, stop - 1)
    from = stop + 8
  end
  math.randomseed(tonumber(args[2]) + index)
  -- Threads do not walk in step.
  next_one = math.random(1, count)
end

local random, format = math.random, string.format

function request()
  local i = next_one
  next_one = i % count + 1
  local id = format("%08x%08x%08x%08x", random(0, 4294967295), random(0, 4294967295), random(0, 4294967295), random(0, 4294967295))
  return heads[i] .. id .. tails[i]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(format(
    '\nroundtrip {"requests":%d,"duration_us":%d,"refused":%d,"broken":%d,"p50_us":%.0f,"p99_us":%.0f,"p999_us":%.0f}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end

-- Sends one request again and again, checks each answer, and prints what was measured as JSON on the last line.
-- The request and the answer are files: `body` and `answer`; `headers` has a line for each header.

local function read(name)
  local file = assert(io.open(os.getenv("BENCH_FOLDER") .. "/" .. name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init()
  wrong = 0
  wrk.method = "POST"
  wrk.body = read("body")
  for name, value in read("headers"):gmatch("([^\n:]+): ([^\n]*)") do
    wrk.headers[name] = value
  end
  answer = read("answer")
end

function response(status, _, body)
  if status ~= 200 or body ~= answer then
    wrong = wrong + 1
  end
end

function done(summary, latency)
  local errors, failed = summary.errors, 0
  for _, thread in ipairs(threads) do
    failed = failed + thread:get("wrong")
  end
  io.write(string.format(
    '\n{"requests":%d,"duration_us":%d,"failed":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d,"p999_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration,
    failed + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9), latency.max))
end

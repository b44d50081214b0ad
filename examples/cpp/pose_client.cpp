// Prints the pose of every frame of a running stream, in the lines of `spark3r echo`, from docs/wire.md alone.
//
//   pose_client tcp://127.0.0.1:5555
//   pose_client tcp://robot.local:5555 KEYS_FOLDER SERVER_KEY_FILE     (docs/security.md)
//
// Exit code 0 when the stream says that it is over, 1 when nothing came for five seconds or the peer is not understood.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <zmq.hpp>
#include <zmq_addon.hpp>

#include "wire.pb.h"

namespace {

constexpr std::uint32_t kSchemaMajor = 1;
constexpr std::int64_t kMaxMessageBytes = 65 * 1024 * 1024;
constexpr std::size_t kMaxFrameBytes = 64 * 1024;
constexpr int kSilenceMs = 5000;  // a status comes every second

std::string read_key(const std::string& path) {
  std::ifstream file(path);
  std::string key;
  if (!(file >> key) || key.size() != 40) throw std::runtime_error("no key in " + path);
  return key;
}

void use_keys(zmq::socket_t& socket, const std::string& folder, const std::string& server_key_file) {
  socket.set(zmq::sockopt::curve_serverkey, read_key(server_key_file));
  socket.set(zmq::sockopt::curve_publickey, read_key(folder + "/public.key"));
  socket.set(zmq::sockopt::curve_secretkey, read_key(folder + "/secret.key"));
}

const char* state_name(spark3r::v1::TrackingState state) {
  switch (state) {
    case spark3r::v1::TRACKING_STATE_TRACKING: return "TRACKING";
    case spark3r::v1::TRACKING_STATE_LOST: return "LOST";
    default: return "LOW_CONFIDENCE";  // also for states of a later minor version
  }
}

void print_frame(const spark3r::v1::FrameResult& frame) {
  const auto id = static_cast<std::int64_t>(frame.frame_id());
  if (!frame.valid()) {
    std::printf("frame %" PRId64 "  %s  FAILED: %s\n", id, state_name(frame.state()), frame.failure_reason().c_str());
    return;
  }
  std::uint64_t lost = 0;
  for (const auto& drop : frame.drops_since_last()) lost += drop.count();
  const auto& t = frame.world_from_camera().translation();
  const auto& q = frame.world_from_camera().rotation();
  std::printf(
      "frame %" PRId64 "  t [%+.4f %+.4f %+.4f]  q [%+.4f %+.4f %+.4f %+.4f]  %s  confidence %.2f  latency %.0f ms  "
      "memory %.1f MiB  lost %" PRIu64 "\n",
      id, t.x(), t.y(), t.z(), q.x(), q.y(), q.z(), q.w(), state_name(frame.state()), frame.confidence(),
      frame.latency_ms(), static_cast<double>(frame.memory_bytes()) / (1 << 20), lost);
}

// Counts what was lost between the messages of each topic; a new session begins at zero.
class Gaps {
 public:
  void count(const std::string& topic, const spark3r::v1::Envelope& envelope) {
    if (envelope.session_id() != session_) {
      session_ = envelope.session_id();
      next_.clear();
    }
    const auto known = next_.find(topic);
    if (known != next_.end() && envelope.sequence() > known->second) missed_ += envelope.sequence() - known->second;
    next_[topic] = envelope.sequence() + 1;
  }
  std::uint64_t missed() const { return missed_; }

 private:
  std::string session_;
  std::map<std::string, std::uint64_t> next_;
  std::uint64_t missed_ = 0;
};

int follow(zmq::socket_t& socket) {
  Gaps gaps;
  std::vector<zmq::message_t> parts;
  while (true) {
    parts.clear();
    if (!zmq::recv_multipart(socket, std::back_inserter(parts))) {
      std::cerr << "nothing came for " << kSilenceMs / 1000 << " s\n";
      return 1;
    }
    if (parts.size() != 3) continue;
    const std::string topic = parts[0].to_string();
    spark3r::v1::Envelope envelope;
    if (!envelope.ParseFromArray(parts[1].data(), static_cast<int>(parts[1].size()))) continue;
    if (envelope.schema_major() != kSchemaMajor) {
      std::cerr << "the publisher speaks schema version " << envelope.schema_major() << "." << envelope.schema_minor()
                << ", this program " << kSchemaMajor << ".x\n";
      return 1;
    }
    gaps.count(topic, envelope);
    if (parts[2].size() > kMaxFrameBytes) continue;
    const auto size = static_cast<int>(parts[2].size());
    if (topic == "/frame/") {
      spark3r::v1::FrameResult frame;
      if (frame.ParseFromArray(parts[2].data(), size)) print_frame(frame);
      std::fflush(stdout);
    } else if (topic == "/status/") {
      spark3r::v1::Status status;
      if (!status.ParseFromArray(parts[2].data(), size)) continue;
      if (status.state() == spark3r::v1::SESSION_STATE_ENDED || status.state() == spark3r::v1::SESSION_STATE_FAILED) {
        if (gaps.missed() > 0) std::cerr << "missed " << gaps.missed() << " messages\n";
        return 0;
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 4) {
    std::cerr << "usage: " << argv[0] << " ENDPOINT [KEYS_FOLDER SERVER_KEY_FILE]\n";
    return 2;
  }
  try {
    zmq::context_t context;
    zmq::socket_t socket(context, zmq::socket_type::sub);
    socket.set(zmq::sockopt::maxmsgsize, kMaxMessageBytes);
    socket.set(zmq::sockopt::rcvtimeo, kSilenceMs);
    socket.set(zmq::sockopt::linger, 0);
    if (argc == 4) use_keys(socket, argv[2], argv[3]);
    socket.set(zmq::sockopt::subscribe, "/frame/");
    socket.set(zmq::sockopt::subscribe, "/status/");
    socket.connect(argv[1]);
    return follow(socket);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}

// The files of the status page (see page/), compiled into the daemon.
#pragma once

#include <string_view>

namespace redlock::observe {

extern const std::string_view kIndexHtml;
extern const std::string_view kStatusCss;
extern const std::string_view kStatusJs;
extern const std::string_view kLocksJs;
extern const std::string_view kChartsJs;
extern const std::string_view kDomJs;

}  // namespace redlock::observe
